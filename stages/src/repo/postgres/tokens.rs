//! Refresh tokens.

use async_trait::async_trait;
use schemas::ids::UserId;

use super::Session;
use crate::repo::model::{NewToken, SignIn, TokenHash};
use crate::repo::sql::tables::{KeptToken, Tokens};
use crate::repo::sql::{Fault, sign_in_of, token_table};

token_table!(Session, "$1", "$2", "$3", "$4");
