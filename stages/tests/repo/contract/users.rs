//! Users and their refresh tokens.

use std::sync::Arc;

use schemas::error::ErrorCode;
use schemas::ids::{ConversationId, UserId};
use stages::repo::model::{NewToken, Rotation, SignIn, TokenHash, User, UserPatch, UserStatus};
use stages::repo::store::{Class, Store, StoreError};

use crate::fixtures::{ANN, BEN, CLEO, DAN, GROUP, NOW, user, with_group, with_users};

type Dyn = Arc<dyn Store>;

pub fn code_of(error: &StoreError) -> ErrorCode {
    match error.class() {
        Class::Refused(refusal) => refusal.code,
        Class::Retry | Class::Fatal => panic!("not a refusal: {error:?}"),
    }
}

fn token(n: u8) -> NewToken {
    NewToken { hash: hash(n), expires_at: NOW + 1_000 }
}

fn hash(n: u8) -> TokenHash {
    [n; 32]
}

pub async fn a_name_is_taken_whatever_its_case(store: Dyn) {
    store.create_user(&user(ANN, "Ann"), Some("hash")).await.unwrap();
    let error = store.create_user(&user(BEN, "aNN"), None).await.unwrap_err();
    assert_eq!(code_of(&error), ErrorCode::UserExists);
    assert!(store.user(BEN).await.unwrap().is_none());
    let found = store.credentials("ANN").await.unwrap().unwrap();
    assert_eq!((found.user, found.password_hash.as_deref()), (user(ANN, "Ann"), Some("hash")));
    assert!(store.credentials("an").await.unwrap().is_none());
}

fn with_email(id: UserId, username: &str, email: &str) -> User {
    User { email: email.into(), ..user(id, username) }
}

pub async fn an_email_address_is_one_users_whatever_its_case(store: Dyn) {
    store.create_user(&with_email(ANN, "ann", "Ann@Example.org"), None).await.unwrap();
    let error = store.create_user(&with_email(BEN, "ben", "aNN@example.ORG"), None).await.unwrap_err();
    assert_eq!(code_of(&error), ErrorCode::UserExists);
    assert!(error.to_string().contains("email address"), "{error}");
    let error = store.create_user(&with_email(BEN, "ANN", "ann@example.org"), None).await.unwrap_err();
    assert!(error.to_string().contains("the name"), "the name comes first: {error}");
    let error = store.create_user(&with_email(BEN, "ANN", "ben@example.org"), None).await.unwrap_err();
    assert!(error.to_string().contains("the name"), "{error}");
    assert!(store.user(BEN).await.unwrap().is_none());
    store.create_user(&with_email(BEN, "ben", "ben@example.org"), None).await.unwrap();
    assert_eq!(store.user(BEN).await.unwrap().unwrap().email, "ben@example.org");
    for (id, name) in [(CLEO, "cleo"), (DAN, "dan")] {
        store.create_user(&with_email(id, name, ""), None).await.unwrap();
    }
}

/// Of users who register at once, who share something that is one user's, one is there afterwards.
async fn check_one_wins(store: Dyn, user_of: impl Fn(i64) -> User) {
    let registered = (1..=8).map(|id| {
        let (store, user) = (Arc::clone(&store), user_of(id));
        tokio::spawn(async move { store.create_user(&user, None).await })
    });
    let mut won = 0;
    for task in registered.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(()) => won += 1,
            Err(error) => assert_eq!(code_of(&error), ErrorCode::UserExists),
        }
    }
    assert_eq!(won, 1);
}

pub async fn of_two_registrations_with_one_address_at_once_one_wins(store: Dyn) {
    check_one_wins(store, |id| with_email(UserId(id), &format!("user{id}"), "a@example.org")).await;
}

pub async fn of_two_registrations_at_once_one_wins(store: Dyn) {
    check_one_wins(store, |id| user(UserId(id), "ann")).await;
}

pub async fn of_many_users_those_that_exist_are_read_at_once(store: Dyn) {
    assert_eq!(store.users(&[ANN]).await.unwrap(), []);
    with_users(&store).await;
    let asked: Vec<_> = (1_000_000..1_000_190).map(UserId).chain([CLEO, UserId(i64::MAX - 1), ANN]).collect();
    let mut found = store.users(&asked).await.unwrap();
    found.sort_by_key(|user| user.id);
    let mut expected = [store.user(ANN).await.unwrap().unwrap(), store.user(CLEO).await.unwrap().unwrap()];
    expected.sort_by_key(|user| user.id);
    assert_eq!(found, expected);
    assert_eq!(store.users(&[]).await.unwrap(), []);
}

pub async fn a_profile_changes_where_it_is_told_to(store: Dyn) {
    with_users(&store).await;
    let patch = UserPatch { display_name: Some("Änn 'O".into()), ..UserPatch::default() };
    assert_eq!(store.update_user(ANN, &patch).await.unwrap().unwrap().display_name, "Änn 'O");
    let patch = UserPatch { avatar_url: Some("https://a/b.png".into()), ..UserPatch::default() };
    let ann = store.update_user(ANN, &patch).await.unwrap().unwrap();
    assert_eq!((ann.display_name.as_str(), ann.avatar_url.as_str()), ("Änn 'O", "https://a/b.png"));
    assert_eq!(store.user(ANN).await.unwrap(), Some(ann));
    let banned = UserPatch { status: Some(UserStatus::Banned), ..UserPatch::default() };
    let ann = store.update_user(ANN, &banned).await.unwrap().unwrap();
    assert_eq!((ann.status, ann.display_name.as_str()), (UserStatus::Banned, "Änn 'O"));
    let standing = store.standing(ConversationId::World, ANN).await.unwrap().unwrap();
    assert_eq!((standing.may_speak, standing.reads_from), (false, None));
    assert!(store.update_user(UserId(5), &patch).await.unwrap().is_none());
}

pub async fn a_refresh_token_works_once_and_its_reuse_ends_the_family(store: Dyn) {
    with_users(&store).await;
    store.start_family(ANN, 70, token(1), NOW).await.unwrap();
    let rotated = store.rotate_token(hash(1), token(2), NOW).await.unwrap();
    assert_eq!(rotated, Rotation::Rotated { user: user(ANN, "ann"), family: 70 });
    assert!(matches!(store.rotate_token(hash(2), token(3), NOW).await.unwrap(), Rotation::Rotated { .. }));
    assert_eq!(store.rotate_token(hash(1), token(4), NOW).await.unwrap(), Rotation::Reused);
    for n in [1, 2, 3, 4] {
        assert_eq!(store.rotate_token(hash(n), token(9), NOW).await.unwrap(), Rotation::Unknown, "{n}");
    }
}

pub async fn an_expired_refresh_token_is_unknown(store: Dyn) {
    with_users(&store).await;
    store.start_family(ANN, 70, token(1), NOW).await.unwrap();
    assert_eq!(store.rotate_token(hash(1), token(2), NOW + 1_000).await.unwrap(), Rotation::Unknown);
    assert!(matches!(store.rotate_token(hash(1), token(2), NOW + 999).await.unwrap(), Rotation::Rotated { .. }));
    // The next sign-in drops what has expired.
    store.start_family(ANN, 71, token(5), NOW + 1_000).await.unwrap();
    assert_eq!(store.rotate_token(hash(1), token(6), NOW).await.unwrap(), Rotation::Unknown);
}

pub async fn a_banned_user_gets_no_new_token(store: Dyn) {
    let mut banned = user(ANN, "ann");
    banned.status = UserStatus::Banned;
    store.create_user(&banned, None).await.unwrap();
    store.start_family(ANN, 70, token(1), NOW).await.unwrap();
    assert_eq!(store.rotate_token(hash(1), token(2), NOW).await.unwrap(), Rotation::Banned);
    assert_eq!(store.rotate_token(hash(1), token(2), NOW).await.unwrap(), Rotation::Unknown);
}

pub async fn a_logout_ends_the_family_and_no_other(store: Dyn) {
    with_users(&store).await;
    store.start_family(ANN, 70, token(1), NOW).await.unwrap();
    store.start_family(ANN, 71, token(2), NOW).await.unwrap();
    store.rotate_token(hash(1), token(3), NOW).await.unwrap();
    store.revoke_family(ANN, 70).await.unwrap();
    store.revoke_family(ANN, 99).await.unwrap();
    store.revoke_family(BEN, 71).await.unwrap();
    assert_eq!(store.rotate_token(hash(3), token(4), NOW).await.unwrap(), Rotation::Unknown);
    assert!(matches!(store.rotate_token(hash(2), token(5), NOW).await.unwrap(), Rotation::Rotated { .. }));
}

pub async fn sign_ins_are_listed_and_end_together_with_a_new_password(store: Dyn) {
    with_users(&store).await;
    for (owner, family, n) in [(ANN, 70, 1), (ANN, 71, 2), (ANN, 72, 3), (BEN, 73, 4)] {
        store.start_family(owner, family, token(n), NOW).await.unwrap();
    }
    let later = NewToken { hash: hash(5), expires_at: NOW + 2_000 };
    store.rotate_token(hash(2), later, NOW).await.unwrap();
    let open = async |now, limit| {
        let open = store.open_sign_ins(ANN, now, limit).await.unwrap();
        open.iter().map(|one| (one.family, one.expires_at - NOW)).collect::<Vec<_>>()
    };
    assert_eq!(open(NOW, 9).await, [(71, 2_000), (70, 1_000), (72, 1_000)], "each once, by its newest token");
    assert_eq!(open(NOW, 2).await.len(), 2);
    assert_eq!(open(NOW + 1_000, 9).await, [(71, 2_000)], "what has expired is over");

    let password = async || store.credentials("ann").await.unwrap().unwrap().password_hash;
    assert!(store.end_sign_ins(ANN, Some(72), Some("a hash")).await.unwrap());
    assert_eq!((open(NOW, 9).await, password().await.as_deref()), (vec![(72, 1_000)], Some("a hash")));
    assert!(store.end_sign_ins(ANN, None, None).await.unwrap());
    assert_eq!((open(NOW, 9).await, password().await.as_deref()), (vec![], Some("a hash")));
    assert!(!store.end_sign_ins(UserId(5), None, Some("a hash")).await.unwrap(), "there is no such user");
    assert_eq!(store.open_sign_ins(BEN, NOW, 9).await.unwrap().len(), 1, "others stay signed in");
}

pub async fn a_sign_in_goes_on_until_it_is_ended(store: Dyn) {
    with_users(&store).await;
    let goes_on = async |family, now| store.sign_in(ANN, family, now).await.unwrap().unwrap().goes_on;
    store.start_family(ANN, 70, token(1), NOW).await.unwrap();
    store.start_family(ANN, 71, token(2), NOW).await.unwrap();
    assert!(goes_on(70, NOW).await && goes_on(71, NOW).await && !goes_on(72, NOW).await);
    assert!(!store.sign_in(BEN, 70, NOW).await.unwrap().unwrap().goes_on, "it is another's");
    store.rotate_token(hash(1), token(3), NOW).await.unwrap();
    assert!(goes_on(70, NOW + 999).await && !goes_on(70, NOW + 1_000).await, "until its newest token expires");
    store.revoke_family(ANN, 70).await.unwrap();
    assert!(!goes_on(70, NOW).await && goes_on(71, NOW).await);
    store.rotate_token(hash(2), token(4), NOW).await.unwrap();
    store.rotate_token(hash(2), token(5), NOW).await.unwrap();
    assert!(!goes_on(71, NOW).await, "a second use of a token ends it");
    let banned = UserPatch { status: Some(UserStatus::Banned), ..UserPatch::default() };
    store.update_user(ANN, &banned).await.unwrap();
    let known = store.sign_in(ANN, 70, NOW).await.unwrap();
    assert_eq!(known, Some(SignIn { status: UserStatus::Banned, goes_on: false }));
    assert_eq!(store.sign_in(UserId(5), 70, NOW).await.unwrap(), None);
}

pub async fn the_newest_id_is_of_users_and_groups(store: Dyn) {
    assert_eq!(store.newest_id(i64::MAX).await.unwrap(), 0);
    with_users(&store).await;
    assert_eq!(store.newest_id(1_000).await.unwrap(), 33);
    assert_eq!(store.newest_id(33).await.unwrap(), 22);
    with_group(&store, &[BEN], 10).await;
    assert_eq!(store.newest_id(DAN.0).await.unwrap(), GROUP.0);
}
