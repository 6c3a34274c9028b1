//! Holds `PROTOCOL.md` and the code together: every field that is read or written stands in its tables, and nothing
//! else does.

use std::collections::BTreeSet;

use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::pb;
use schemas::records::Sequenced;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use crate::client_frame;
use crate::frames::{self, Hello};
use crate::rest::{account, auth, conversations, groups, users};
use crate::views::{ConversationView, ErrorView, GroupView, MemberView, MessageView, ReadMarkView, UserView};
use crate::views::{ReadReceiptView, SignInView, StoredView};

const PROTOCOL: &str = include_str!("../PROTOCOL.md");

/// The cells of the one row below a heading whose first cell names this.
fn row(heading: &str, name: &str) -> Vec<&'static str> {
    let section = PROTOCOL.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let rows = section.lines().filter_map(|line| line.strip_prefix('|')).map(|line| line.split('|').map(str::trim));
    let mut rows = rows.map(Iterator::collect::<Vec<_>>).filter(|cells| cells[0].contains(name));
    rows.next().unwrap_or_else(|| panic!("{heading} has no row of {name}"))
}

/// The fields in the first code of a cell: `a, b?, c: "value"`.
fn documented(cell: &str) -> BTreeSet<String> {
    let code = cell.split('`').nth(1).unwrap_or_default();
    let name = |field: &str| field.split([':', '?']).next().unwrap_or_default().trim().to_owned();
    code.split(',').map(name).filter(|name| !name.is_empty()).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object")).keys().cloned().collect()
}

/// The fields of a struct, as serde reads them.
fn fields_of<T: for<'de> Deserialize<'de>>() -> BTreeSet<String> {
    struct Asked<'a>(&'a mut BTreeSet<String>);
    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only the fields are asked for"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend(fields.iter().map(|&field| field.to_owned()));
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields = BTreeSet::new();
    assert!(T::deserialize(Asked(&mut fields)).is_err());
    fields
}

#[test]
fn every_body_of_rest_is_documented() {
    let bodies = [
        ("`POST /auth/register`", fields_of::<auth::Registration>()),
        ("`POST /auth/login`", fields_of::<auth::Credentials>()),
        ("`POST /auth/refresh`", fields_of::<auth::Refresh>()),
        ("`POST /users/me/password`", fields_of::<account::NewPassword>()),
        ("`PATCH /users/me`", fields_of::<users::Changes>()),
        ("`POST /conversations/{id}/read`", fields_of::<conversations::ReadMark>()),
        ("`POST /groups`", fields_of::<groups::NewGroup>()),
        ("`PATCH /groups/{id}`", fields_of::<groups::Changes>()),
        ("`POST /groups/{id}/members`", fields_of::<groups::NewMembers>()),
        ("`PATCH /groups/{id}/members/{userId}`", fields_of::<groups::NewRole>()),
    ];
    for (call, fields) in bodies {
        assert_eq!(documented(row("## REST", call)[1]), fields, "{call}");
    }
    let queries = [
        ("`GET /users?", fields_of::<users::ByName>()),
        ("`GET /conversations?", fields_of::<conversations::Page>()),
        ("`GET /conversations/{id}/messages?", fields_of::<conversations::Range>()),
        ("`GET /groups/{id}/members?", fields_of::<groups::Page>()),
    ];
    for (call, fields) in queries {
        let query = row("## REST", call)[0].split(['?', '`']).nth(2).unwrap_or_default();
        let given = query.split('&').map(|field| field.trim_end_matches('=').to_owned());
        assert_eq!(given.collect::<BTreeSet<_>>(), fields, "{call}");
    }
}

fn stored() -> pb::Message {
    pb::Message { target_seq: Some(1), remove: true, edited_at: Some(1), recalled: true, ..Default::default() }
}

fn sequenced(kind: Kind) -> Sequenced {
    Sequenced {
        message_id: MessageId(1),
        seq_id: Seq(1),
        ordinal: 1,
        created_at: 1,
        conversation_id: ConversationId::World,
        sender_id: UserId(1),
        client_msg_id: "k".into(),
        kind,
        content: "x".into(),
        target_seq: Some(Seq(1)),
        remove: true,
    }
}

fn json(view: impl serde::Serialize) -> Value {
    serde_json::to_value(view).expect("views are JSON")
}

#[test]
fn every_answer_of_rest_is_documented() {
    let signed_in = json(auth::SignedIn::from(pb::SignedIn::default()));
    for call in ["`POST /auth/register`", "`POST /auth/refresh`"] {
        assert_eq!(documented(row("## REST", call)[2]), keys(&signed_in), "{call}");
    }
    let conversation = json(ConversationView::of(&pb::Conversation::default()));
    let each = row("## REST", "`GET /conversations?")[2].split_once("each has ").expect("what each one has").1;
    assert_eq!(documented(each), keys(&conversation));
    let sign_in = json(SignInView::of(&pb::OpenSignIn::default(), 1));
    let each = row("## REST", "`GET /users/me/sign-ins`")[2].split_once("each ").expect("what each one has").1;
    assert_eq!(documented(each), keys(&sign_in));
    let marks = row("## REST", "`GET /conversations/{id}/read`")[2].split_once("each ").expect("what each mark has").1;
    assert_eq!(documented(marks), keys(&json(ReadMarkView::of(&pb::ReadMark::default()))));
    let objects = [
        ("message", json(MessageView::stored(&stored()))),
        ("user", json(UserView::own(pb::User::default()))),
        ("group", json(GroupView::from(pb::Group::default()))),
        ("member", json(MemberView::from(pb::GroupMember::default()))),
    ];
    for (name, object) in objects {
        assert_eq!(documented(row("What these objects have:", name)[1]), keys(&object), "{name}");
    }
    let error = keys(&json(ErrorView::of(&Refusal::invalid("x"), None)));
    assert_eq!(error, ["code", "message", "name", "retryable"].map(str::to_owned).into());
    assert!(PROTOCOL.contains(r#"{"error": {"code", "name", "message", "retryable"}}"#));
    for code in ErrorCode::ALL {
        assert_eq!(row("## Errors", &code.code().to_string())[2], code.http_status().to_string(), "{code:?}");
    }
}

#[test]
fn every_frame_of_the_server_is_documented() {
    let of_text = |text: axum::extract::ws::Utf8Bytes| serde_json::from_str::<Value>(&text).expect("a frame is JSON");
    let hello = Hello {
        user_id: UserId(1),
        session_id: 1,
        server_time: String::new(),
        heartbeat_seconds: 1,
        resend_window_seconds: 1,
        protocol: 1,
    };
    let (message, mark) = (sequenced(Kind::Reaction), sequenced(Kind::ReadMark));
    let frames = [
        frames::frame("hello", None, &hello),
        frames::heads(&[]),
        frames::ack(None, "k"),
        frames::frame("message-stored", None, &StoredView::of(&message)),
        frames::frame("message", None, &MessageView::delivered(&message)),
        frames::frame("read-receipt", None, &ReadReceiptView::of(&mark)),
        frames::typing("world", UserId(1)),
        frames::presence(None, UserId(1), true, None),
        frames::sync_result(None, "world", &[], false, true),
        frames::pong(None, 1),
        frames::error(&Refusal::invalid("x"), None, Some("k")),
    ];
    for frame in frames.map(of_text) {
        let name = format!("`{}`", frame["type"].as_str().expect("a frame has a type"));
        assert_eq!(documented(row("### From the server", &name)[1]), keys(&frame["data"]), "{name}");
    }
}

#[test]
fn every_field_of_the_clients_frames_is_documented() {
    let section = PROTOCOL.split_once("### From the client").expect("the section").1;
    let section = section.split_once("### From the server").expect("the section").0;
    let codes = section.split('`').skip(1).step_by(2).flat_map(|code| documented(&format!("`{code}`")));
    let codes: BTreeSet<_> = codes.collect();
    let missing: Vec<_> = fields_of::<client_frame::Data>().difference(&codes).cloned().collect();
    assert!(missing.is_empty(), "no frame of a client is said to have {missing:?}");
}
