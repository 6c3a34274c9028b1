//! The store in MariaDB: the contract, and what only a server has.

use crate::contract::store_contract;
use crate::databases::Kind;
use crate::servers;

store_contract!(contract, crate::databases::mariadb_store);
servers::server_tests!(Kind::MariaDb);
