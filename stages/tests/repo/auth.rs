//! Sign-in, over gRPC.

use schemas::error::ErrorCode;
use schemas::ids::UserId;
use schemas::pb;
use schemas::token::{Claims, TokenError};
use stages::repo::RepoConfig;
use stages::repo::model::{User, UserStatus};
use stages::repo::store::Users;

use crate::fixtures::{ANN, BEN, NOW, user};
use crate::served::{Served, code, config};

const PASSWORD: &str = "correct horse";

async fn register(repo: &Served, username: &str) -> Result<pb::SignedIn, tonic::Status> {
    let request = pb::RegisterRequest {
        username: username.into(),
        password: PASSWORD.into(),
        email: format!("{username}@example.org"),
        ..Default::default()
    };
    repo.auth().register(request).await.map(tonic::Response::into_inner)
}

async fn login(repo: &Served, username: &str, password: &str) -> Result<pb::SignedIn, tonic::Status> {
    let request = pb::LoginRequest { username: username.into(), password: password.into(), ..Default::default() };
    repo.auth().login(request).await.map(tonic::Response::into_inner)
}

async fn refresh(repo: &Served, token: &str) -> Result<pb::SignedIn, tonic::Status> {
    let request = pb::RefreshTokenRequest { refresh_token: token.into() };
    repo.auth().refresh_token(request).await.map(tonic::Response::into_inner)
}

fn claims(repo: &Served, signed_in: &pb::SignedIn) -> Result<Claims, TokenError> {
    repo.key.verifying_key().verify(&signed_in.access_token, repo.clock.now_ms())
}

#[tokio::test]
async fn who_registers_is_signed_in_and_can_sign_in_again() {
    let repo = Served::start().await;
    let first = register(&repo, "Ann").await.unwrap();
    assert_eq!((first.username.as_str(), first.expires_in), ("Ann", 900));
    let second = login(&repo, "ann", PASSWORD).await.unwrap();
    assert_eq!((second.user_id, second.username.as_str()), (first.user_id, "Ann"));
    let (a, b) = (claims(&repo, &first).unwrap(), claims(&repo, &second).unwrap());
    assert_eq!((a.user_id, a.expires_at), (UserId(first.user_id), NOW + 900_000));
    assert_ne!(a.session_id, b.session_id);
    repo.clock.advance_ms(900_000);
    assert_eq!(claims(&repo, &first), Err(TokenError::Expired));
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let repo = Served::start().await;
    register(&repo, "ann").await.unwrap();
    repo.user("imported").await;
    let wrong = login(&repo, "ann", "wrong horse").await.unwrap_err();
    for (username, password) in [("nobody", PASSWORD), ("imported", ""), ("imported", PASSWORD), ("'--", PASSWORD)] {
        let answer = login(&repo, username, password).await.unwrap_err();
        assert_eq!((answer.code(), answer.message()), (wrong.code(), wrong.message()), "{username} {password}");
    }
    assert_eq!(code(Err::<(), _>(wrong)), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_it_and_the_other_sign_ins_end() {
    let repo = Served::start().await;
    let here = register(&repo, "ann").await.unwrap();
    let there = login(&repo, "ann", PASSWORD).await.unwrap();
    let session_id = claims(&repo, &here).unwrap().session_id;
    let change = async |password: &str, new_password: &str| {
        let request = pb::ChangePasswordRequest {
            user_id: here.user_id,
            session_id,
            password: password.into(),
            new_password: new_password.into(),
            client_address: "::1".into(),
        };
        repo.auth().change_password(request).await
    };
    assert_eq!(code(change("wrong horse", "another horse").await), ErrorCode::PermissionDenied);
    assert_eq!(code(change(PASSWORD, "short").await), ErrorCode::InvalidInput);
    assert_eq!(code(change(PASSWORD, "Password1").await), ErrorCode::InvalidInput, "one that everybody guesses");
    change(PASSWORD, "another horse").await.unwrap();
    assert_eq!(code(login(&repo, "ann", PASSWORD).await), ErrorCode::Unauthenticated);
    assert_eq!(code(refresh(&repo, &there.refresh_token).await), ErrorCode::Unauthenticated);
    refresh(&repo, &here.refresh_token).await.unwrap();
    let again = login(&repo, "ann", "another horse").await.unwrap();

    let list = async || {
        let request = pb::GetSignInsRequest { user_id: here.user_id };
        repo.auth().get_sign_ins(request).await.unwrap().into_inner().sign_ins
    };
    let open = list().await;
    assert_eq!(open.len(), 2);
    assert!(open.iter().any(|one| one.session_id == session_id && one.refreshed_at == NOW), "{open:?}");
    repo.auth().logout_everywhere(pb::LogoutEverywhereRequest { user_id: here.user_id }).await.unwrap();
    assert_eq!(list().await, []);
    assert_eq!(code(refresh(&repo, &again.refresh_token).await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn an_administrator_sets_a_password_and_all_sign_ins_end() {
    let repo = Served::start().await;
    let before = register(&repo, "ann").await.unwrap();
    let reset = async |user_id| {
        let request = pb::ResetPasswordRequest { user_id, new_password: "another horse".into() };
        repo.auth().reset_password(request).await
    };
    reset(before.user_id).await.unwrap();
    assert_eq!(code(refresh(&repo, &before.refresh_token).await), ErrorCode::Unauthenticated);
    assert_eq!(code(login(&repo, "ann", PASSWORD).await), ErrorCode::Unauthenticated);
    login(&repo, "ann", "another horse").await.unwrap();
    assert_eq!(code(reset(before.user_id + 1).await), ErrorCode::UserNotFound);
}

#[tokio::test]
async fn what_is_kept_of_a_password_is_its_argon2id_hash() {
    let repo = Served::start().await;
    register(&repo, "ann").await.unwrap();
    register(&repo, "ben").await.unwrap();
    let kept = async |name| repo.store.credentials(name).await.unwrap().unwrap().password_hash.unwrap();
    let (anns, bens) = (kept("ann").await, kept("ben").await);
    assert!(anns.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{anns}");
    assert_ne!(anns, bens, "each has a salt of its own");
}

#[tokio::test]
async fn an_access_token_names_a_sign_in_that_can_be_asked_after() {
    let repo = Served::start().await;
    let check = async |signed_in: &pb::SignedIn| {
        let session_id = claims(&repo, signed_in).unwrap().session_id;
        repo.auth().check_sign_in(pb::CheckSignInRequest { user_id: signed_in.user_id, session_id }).await
    };
    let (logged_out, stolen) = (register(&repo, "ann").await.unwrap(), login(&repo, "ann", PASSWORD).await.unwrap());
    let kept = login(&repo, "ann", PASSWORD).await.unwrap();
    for signed_in in [&logged_out, &stolen, &kept] {
        check(signed_in).await.unwrap();
    }
    log_out(&repo, &logged_out).await;
    refresh(&repo, &stolen.refresh_token).await.unwrap();
    check(&stolen).await.unwrap();
    refresh(&repo, &stolen.refresh_token).await.unwrap_err();
    assert_eq!(code(check(&logged_out).await), ErrorCode::Unauthenticated);
    assert_eq!(code(check(&stolen).await), ErrorCode::Unauthenticated);
    check(&kept).await.unwrap();
    let banned = pb::UpdateUserRequest { user_id: kept.user_id, status: Some("banned".into()), ..Default::default() };
    repo.users().update_user(banned).await.unwrap();
    assert_eq!(code(check(&kept).await), ErrorCode::PermissionDenied);
    assert_eq!(code(refresh(&repo, &kept.refresh_token).await), ErrorCode::PermissionDenied);
    let of_nobody = pb::CheckSignInRequest { user_id: 7, session_id: 1 };
    assert_eq!(code(repo.auth().check_sign_in(of_nobody).await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn of_registrations_of_one_name_at_once_one_wins() {
    let repo = Served::start().await;
    let (a, b, c) = tokio::join!(register(&repo, "ann"), register(&repo, "ANN"), register(&repo, "Ann"));
    let (won, lost): (Vec<_>, Vec<_>) = [a, b, c].into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 2));
    assert!(lost.into_iter().all(|answer| code(answer) == ErrorCode::UserExists));
}

#[tokio::test]
async fn a_refresh_token_used_twice_ends_its_sign_in() {
    let repo = Served::start().await;
    let first = register(&repo, "ann").await.unwrap();
    let other = login(&repo, "ann", PASSWORD).await.unwrap();
    let second = refresh(&repo, &first.refresh_token).await.unwrap();
    assert_eq!(claims(&repo, &second).unwrap().session_id, claims(&repo, &first).unwrap().session_id);
    assert_eq!(code(refresh(&repo, &first.refresh_token).await), ErrorCode::Unauthenticated);
    assert_eq!(code(refresh(&repo, &second.refresh_token).await), ErrorCode::Unauthenticated);
    assert!(refresh(&repo, &other.refresh_token).await.is_ok(), "another sign-in is not touched");
}

#[tokio::test]
async fn a_logout_ends_the_sign_in_that_it_names_and_no_other() {
    let repo = Served::start().await;
    let (first, other) = (register(&repo, "ann").await.unwrap(), login(&repo, "ann", PASSWORD).await.unwrap());
    let bens = register(&repo, "ben").await.unwrap();
    let of_ben = claims(&repo, &bens).unwrap().session_id;
    repo.auth().logout(pb::LogoutRequest { user_id: first.user_id, session_id: of_ben }).await.unwrap();
    let bens = refresh(&repo, &bens.refresh_token).await.unwrap();
    for _ in 0..2 {
        log_out(&repo, &first).await;
        assert_eq!(code(refresh(&repo, &first.refresh_token).await), ErrorCode::Unauthenticated);
    }
    assert!(refresh(&repo, &other.refresh_token).await.is_ok() && refresh(&repo, &bens.refresh_token).await.is_ok());
    for (user_id, session_id) in [(0, 7), (first.user_id, 0)] {
        let unnamed = pb::LogoutRequest { user_id, session_id };
        assert_eq!(code(repo.auth().logout(unnamed).await), ErrorCode::InvalidInput);
    }
    for token in ["", "unknown", &"A".repeat(10_000)] {
        assert_eq!(code(refresh(&repo, token).await), ErrorCode::Unauthenticated);
    }
}

async fn log_out(repo: &Served, signed_in: &pb::SignedIn) {
    let session_id = claims(repo, signed_in).unwrap().session_id;
    repo.auth().logout(pb::LogoutRequest { user_id: signed_in.user_id, session_id }).await.unwrap();
}

#[tokio::test]
async fn a_password_is_right_however_it_is_typed() {
    let repo = Served::start().await;
    let new =
        pb::RegisterRequest { username: "ann".into(), password: "cafe\u{301} au lait".into(), ..Default::default() };
    repo.auth().register(new).await.unwrap();
    for typed in ["café au lait", "cafe\u{301} au lait", "café\u{A0}au\u{3000}lait"] {
        assert!(login(&repo, "ann", typed).await.is_ok(), "{typed:?}");
    }
    assert_eq!(code(login(&repo, "ann", "cafe au lait").await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_password_from_before_passwords_were_prepared_is_right_as_it_was_typed() {
    let repo = Served::start().await;
    let typed = format!("cafe\u{301}{}", "\u{3000}".repeat(41));
    repo.store.create_user(&user(ANN, "ann"), Some(&hash_of(&typed))).await.unwrap();
    repo.store.create_user(&user(BEN, "ben"), Some(&hash_of(PASSWORD))).await.unwrap();
    assert!(login(&repo, "ann", &typed).await.is_ok());
    assert!(login(&repo, "ben", PASSWORD).await.is_ok());
    assert_eq!(code(login(&repo, "ann", &typed.replace('e', "a")).await), ErrorCode::Unauthenticated);
}

/// As others make it.
fn hash_of(password: &str) -> String {
    use argon2::password_hash::PasswordHasher;
    let argon2 = argon2::Argon2::from(argon2::Params::new(8, 1, 1, None).unwrap());
    argon2.hash_password_with_salt(password.as_bytes(), b"0123456789abcdef").unwrap().to_string()
}

#[tokio::test]
async fn an_email_address_is_taken_once_and_the_refusal_says_so() {
    let repo = Served::start().await;
    register(&repo, "ann").await.unwrap();
    let new = |username: &str, email: &str| pb::RegisterRequest {
        username: username.into(),
        password: PASSWORD.into(),
        email: email.into(),
        ..Default::default()
    };
    let taken = repo.auth().register(new("ben", "ANN@example.org")).await.unwrap_err();
    assert!(taken.message().contains("email"), "{taken}");
    assert_eq!(code(Err::<(), _>(taken)), ErrorCode::UserExists);
    let by_hand =
        pb::CreateUserRequest { username: "ben".into(), email: "Ann@Example.Org".into(), ..Default::default() };
    assert_eq!(code(repo.users().create_user(by_hand).await), ErrorCode::UserExists);
    assert!(repo.auth().register(new("ben", "")).await.is_ok() && repo.auth().register(new("cleo", "")).await.is_ok());
}

#[tokio::test]
async fn a_refresh_token_ends_after_thirty_days() {
    let repo = Served::start().await;
    let first = register(&repo, "ann").await.unwrap();
    repo.clock.advance_ms(30 * 24 * 3_600_000 - 1);
    let second = refresh(&repo, &first.refresh_token).await.unwrap();
    repo.clock.advance_ms(30 * 24 * 3_600_000);
    assert_eq!(code(refresh(&repo, &second.refresh_token).await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn what_is_malformed_is_refused_before_it_costs_anything() {
    let repo = Served::start().await;
    let good = pb::RegisterRequest { username: "ann".into(), password: PASSWORD.into(), ..Default::default() };
    let bad = [
        pb::RegisterRequest { username: "a".into(), ..good.clone() },
        pb::RegisterRequest { password: "short".into(), ..good.clone() },
        pb::RegisterRequest { password: "x".repeat(129), ..good.clone() },
        pb::RegisterRequest { display_name: "a\nb".into(), ..good.clone() },
        pb::RegisterRequest { display_name: "\u{200B}".into(), ..good.clone() },
        pb::RegisterRequest { display_name: "a\u{202E}b".into(), ..good.clone() },
        pb::RegisterRequest { email: "x".repeat(256), ..good.clone() },
        pb::RegisterRequest { email: "no address".into(), ..good.clone() },
    ];
    for request in bad {
        assert_eq!(code(repo.auth().register(request).await), ErrorCode::InvalidInput);
    }
}

#[tokio::test]
async fn a_banned_user_is_told_so_only_with_the_right_password() {
    let repo = Served::start().await;
    let banned = User { status: UserStatus::Banned, ..user(ANN, "ann") };
    repo.store.create_user(&banned, Some(&hash_of(PASSWORD))).await.unwrap();
    assert_eq!(code(login(&repo, "ann", "wrong horse").await), ErrorCode::Unauthenticated);
    assert_eq!(code(login(&repo, "ann", PASSWORD).await), ErrorCode::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_over_the_bound_are_busy_and_the_rest_goes_on() {
    // No queue, and hashes that take long enough to meet.
    let slow = RepoConfig { password_queue_max: 0, password_memory_kib: 64 * 1_024, password_passes: 4, ..config() };
    let repo = Served::start_with(slow).await;
    let logins = (0..12).map(|_| login(&repo, "nobody", PASSWORD));
    let asked = async { repo.users().get_user(pb::GetUserRequest { user_id: 1 }).await };
    let (answers, found) = tokio::join!(futures::future::join_all(logins), asked);
    let codes: Vec<_> = answers.into_iter().map(code).collect();
    assert!(codes.contains(&ErrorCode::Busy) && codes.contains(&ErrorCode::Unauthenticated), "{codes:?}");
    assert_eq!(code(found), ErrorCode::UserNotFound);
}
