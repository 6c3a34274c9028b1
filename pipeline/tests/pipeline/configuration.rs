//! What can be configured, and what is refused, by the name of the key and of where it stands.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use pipeline::config::{Config, ConfigError};
use serde_json::Value;
use stages::repo::Access;

/// What a variable of the environment makes of the configuration.
fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    with_file(None, variables)
}

fn with_file(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load_with(file, variables)?.checked()
}

fn in_file(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gochat.toml");
    std::fs::write(&path, text).unwrap();
    with_file(Some(&path), &[])
}

fn variable(key: &str) -> String {
    format!("GOCHAT__{}", key.to_uppercase().replace('.', "__"))
}

/// Every key, with its default.
fn settings() -> Vec<(String, Value)> {
    fn collect(key: &str, value: Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(section) => section.into_iter().for_each(|(name, value)| {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                collect(&key, value, into);
            }),
            leaf => into.push((key.to_owned(), leaf)),
        }
    }
    let mut all = Vec::new();
    collect("", serde_json::to_value(Config::default()).unwrap(), &mut all);
    all
}

fn numbers() -> impl Iterator<Item = String> {
    settings().into_iter().filter(|(_, default)| default.is_number()).map(|(key, _)| key)
}

/// The range that a number may have, which a refusal tells.
fn range(key: &str) -> (u64, u64) {
    let largest = [u64::MAX, i64::MAX.unsigned_abs(), u32::MAX.into(), i32::MAX.unsigned_abs().into(), u16::MAX.into()];
    for number in largest {
        if let Err(ConfigError::InvalidSetting { invalid, .. }) = with(&[(&variable(key), &number.to_string())]) {
            assert_eq!(invalid.key, key);
            let mut ends = invalid.allowed.split(|c: char| !c.is_ascii_digit()).filter_map(|end| end.parse().ok());
            let below = invalid.allowed.starts_with("below").then(|| ends.next().unwrap());
            return below.map_or_else(|| (ends.next().unwrap(), ends.next().unwrap()), |end: u64| (0, end - 1));
        }
    }
    panic!("{key} takes every number that its type holds: give it a range where it is defined");
}

#[test]
fn every_number_has_a_range_and_what_is_outside_is_refused_by_name() {
    for key in numbers() {
        let name = variable(&key);
        let (least, most) = range(&key);
        for text in [least.to_string(), most.to_string()] {
            if let Err(error) = with(&[(&name, &text)]) {
                let error = error.to_string();
                assert!(error.contains(&key) && error.contains("must be at most"), "only beside another: {error}");
            }
        }
        let beyond = (u128::from(most) + 1).to_string();
        let below = least.checked_sub(1).map_or_else(|| "-1".to_owned(), |below| below.to_string());
        for text in [&*beyond, &*below, "-1", "1.5", "1e5", "text", "", "18446744073709551616", "TRUE"] {
            let refused = with(&[(&name, text)]).expect_err(&format!("{key} takes {text:?}")).to_string();
            assert!(refused.contains(&key) && refused.contains(&name) && refused.contains("must be"), "{refused}");
        }
        let (section, short) = key.rsplit_once('.').unwrap_or(("", &key));
        for text in [&*beyond, &*below, "1.5", "\"1\"", "true", "[1]"] {
            let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
            let refused = in_file(&format!("{header}{short} = {text}\n")).expect_err(&format!("{key} takes {text}"));
            let refused = refused.to_string();
            assert!(refused.contains(short) && refused.contains("gochat.toml"), "{refused}");
        }
    }
}

/// A process starts with all numbers at the same end of their ranges, and stops in good order.
#[test]
fn a_process_runs_at_both_ends_of_every_range() {
    for end in [|(least, _): (u64, u64)| least, |(_, most): (u64, u64)| most] {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gochat"));
        command.args(["run", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"]).arg(data.path());
        command.envs(numbers().map(|key| (variable(&key), end(range(&key)).to_string())));
        command.env("GOCHAT__TELEMETRY__FORMAT", "json");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.any(|line| line.contains("\"message\":\"ready\""));
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        // What comes until the end must be read, or it would wait for nobody.
        lines.for_each(drop);
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ready && told.unwrap().success() && ended.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn texts_are_taken_to_the_letter() {
    for text in ["0123456", "1e5", "TRUE", " a b ", "a,b", "[a", "\"quoted\"", "p@ss#?%/:"] {
        let config = with(&[("GOCHAT__REPO__CACHE__REDIS__PASSWORD", text)]).unwrap();
        assert_eq!(config.repo.cache.redis.password, text);
        assert_eq!(with(&[("GOCHAT__DATA_DIR", text)]).unwrap().data_dir, Path::new(text));
    }
    assert!(!with(&[("GOCHAT__STAGES__FUSE_DEDUPE_AND_ID_ASSIGN", "false")]).unwrap().stages.fuse_dedupe_and_id_assign);
    let none = with(&[("GOCHAT__REPO__STORE__URL", ""), ("GOCHAT__TELEMETRY__METRICS_LISTEN", "")]).unwrap();
    assert!(none.repo.store.url.is_none() && none.telemetry.metrics_listen.is_none(), "empty is none");
}

#[test]
fn lists_are_given_with_commas_or_as_an_array() {
    let origins = |text: &str| {
        with(&[("GOCHAT__GATEWAY__LIMITS__ALLOWED_ORIGINS", text)]).map(|config| config.gateway.limits.allowed_origins)
    };
    let two = ["https://a.example", "http://b.example:81"];
    for text in [
        "https://a.example,http://b.example:81",
        " https://a.example , http://b.example:81 ,",
        "[\"https://a.example\", 'http://b.example:81']",
    ] {
        assert_eq!(origins(text).unwrap(), two, "{text}");
    }
    for text in ["", "[]"] {
        assert!(origins(text).unwrap().is_empty());
    }
    for text in ["[1]", "[\"a\"", "[[\"a\"]]", "https://a.example/", "a.example"] {
        let refused = origins(text).unwrap_err().to_string();
        assert!(refused.contains("GOCHAT__GATEWAY__LIMITS__ALLOWED_ORIGINS"), "{refused}");
    }
    let proxies = with(&[("GOCHAT__GATEWAY__LIMITS__TRUSTED_PROXIES", "10.0.0.0/8,::1")]).unwrap();
    assert_eq!(proxies.gateway.limits.trusted_proxies.len(), 2);
    let refused = with(&[("GOCHAT__GATEWAY__LIMITS__TRUSTED_PROXIES", "10.0.0.0/8,nowhere")]).unwrap_err().to_string();
    assert!(refused.contains("gateway.limits.trusted_proxies") && refused.contains("nowhere"), "{refused}");
    let both = [
        ("GOCHAT__REPO__STORE__URL", "postgres://a@p/c"),
        ("GOCHAT__REPO__STORE__REPLICAS", "postgres://a@q/c,postgres://a@r/c"),
    ];
    assert_eq!(with(&both).unwrap().repo.store.replicas.len(), 2);
}

#[test]
fn a_variable_that_is_no_setting_is_refused_with_the_nearest_one() {
    for (name, nearest) in [
        ("GOCHAT_DATA_DIR", "GOCHAT__DATA_DIR"),
        ("GOCHAT__GATEWAY_LISTEN", "GOCHAT__GATEWAY__LISTEN"),
        ("GOCHAT__GATEWAY__LIMITS__HEARTBEAT", "GOCHAT__GATEWAY__LIMITS__HEARTBEAT_S"),
        ("GOCHATDATADIR", "GOCHAT__DATA_DIR"),
        ("GOCHAT__GATEWAY", "GOCHAT__GATEWAY__SLOT"),
    ] {
        let refused = with(&[(name, "1")]).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains(nearest), "{refused}");
    }
    for name in ["GOCHAT_TEST_KAFKA", "GOCHAT_SIMULATE_SEED", "PATH", "gochat__data_dir"] {
        with(&[(name, "1")]).unwrap();
    }
}

#[test]
fn a_key_of_a_file_that_is_no_setting_is_refused_with_the_file_and_the_nearest_one() {
    for (text, key, nearest) in [
        ("[gateway]\nlisten_adress = 1\n", "gateway.listen_adress", "gateway.listen"),
        ("instanze = 1\n", "instanze", "instance"),
        ("[gatway.limits]\nheartbeat_s = 1\n", "gatway", "instance"),
    ] {
        let refused = in_file(text).unwrap_err();
        let ConfigError::UnknownKey { key: named, .. } = &refused else { panic!("{refused}") };
        assert_eq!(named, key);
        let refused = refused.to_string();
        assert!(refused.contains("gochat.toml") && (refused.contains(nearest) || key == "gatway"), "{refused}");
    }
    for text in
        ["gateway = 1\n", "data_dir = 1\n", "data_dir = {a = 1}\n", "[log]\nkind = \"kafkaa\"\n", "instance = -1\n"]
    {
        let refused = in_file(text).unwrap_err().to_string();
        assert!(refused.contains("gochat.toml"), "{refused}");
    }
    let refused = in_file("data_dir = \"a\"\n[gateway\nslot = 1\n").unwrap_err().to_string();
    assert!(refused.contains("gochat.toml line 2"), "{refused}");
}

#[test]
fn no_refusal_tells_a_password() {
    let url = |text: &str| with(&[("GOCHAT__REPO__STORE__URL", text)]).unwrap_err().to_string();
    for (text, secret) in [
        ("postgres://ann:p4ss/w0rd@db/chat", "w0rd"),
        ("oracle://ann:p4ss@db/chat", "p4ss"),
        ("mysql://ann:p4ss#w0rd@db/chat", "p4ss"),
    ] {
        let refused = url(text);
        assert!(refused.contains("repo.store.url") && !refused.contains(secret), "{refused}");
    }
    let refused = in_file("[repo.cache.redis]\npassword = 1234567\n").unwrap_err().to_string();
    assert!(refused.contains("repo.cache.redis.password") && !refused.contains("1234567"), "{refused}");
    let refused = in_file("[repo.cache.redis]\npassword = hunter2\n").unwrap_err().to_string();
    assert!(refused.contains("password") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn the_environment_goes_over_the_file_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gochat.toml");
    std::fs::write(&path, "instance = 3\n[gateway]\nslot = 2\n").unwrap();
    let config = with_file(Some(&path), &[("GOCHAT__INSTANCE", "5")]).unwrap();
    assert_eq!((config.instance, config.gateway.slot), (5, 2));
    let refused = with_file(Some(&path), &[("GOCHAT__INSTANCE", "99")]).unwrap_err().to_string();
    assert!(refused.contains("GOCHAT__INSTANCE") && !refused.contains("gochat.toml"), "{refused}");
}

#[test]
fn settings_that_must_fit_together_are_refused_by_both_names() {
    for (name, value, key, other) in [
        ("GOCHAT__GATEWAY__SLOT", "16", "gateway.slot", "log.gateway_slots"),
        (
            "GOCHAT__REPO__GUARD__READ_TIMEOUT_MS",
            "20000",
            "repo.guard.read_timeout_ms",
            "repo.limits.request_timeout_ms",
        ),
        (
            "GOCHAT__REPO__LIMITS__REQUEST_TIMEOUT_MS",
            "5000",
            "repo.guard.write_timeout_ms",
            "repo.limits.request_timeout_ms",
        ),
        (
            "GOCHAT__REPO__STORE__SERVER__LOCK_TIMEOUT_MS",
            "12000",
            "lock_timeout_ms",
            "repo.store.server.statement_timeout_ms",
        ),
        (
            "GOCHAT__REPO__STORE__SERVER__CALL_TIMEOUT_MS",
            "4000",
            "statement_timeout_ms",
            "repo.store.server.call_timeout_ms",
        ),
        (
            "GOCHAT__REPO__STORE__SERVER__ACQUIRE_TIMEOUT_MS",
            "2600",
            "acquire_timeout_ms",
            "repo.store.server.read_timeout_ms",
        ),
        (
            "GOCHAT__REPO__STORE__SERVER__READ_TIMEOUT_MS",
            "4000",
            "repo.store.server.read_timeout_ms",
            "repo.guard.read_timeout_ms",
        ),
        (
            "GOCHAT__REPO__STORE__SERVER__CALL_TIMEOUT_MS",
            "9000",
            "repo.store.server.call_timeout_ms",
            "repo.guard.write_timeout_ms",
        ),
        ("GOCHAT__REPO__STORE__SERVER__CONNECTIONS_MIN", "17", "connections_min", "repo.store.server.connections_max"),
        ("GOCHAT__GATEWAY__LIMITS__SOCKETS_MAX", "10", "sockets_a_user_max", "gateway.limits.sockets_max"),
        (
            "GOCHAT__GATEWAY__LIMITS__PRESENCE_USERS_A_SOCKET_MAX",
            "5000",
            "presence_users_a_socket_max",
            "gateway.limits.frame_bytes_max",
        ),
        (
            "GOCHAT__GATEWAY__LIMITS__FAILED_LOGINS_A_MINUTE_A_USER",
            "5",
            "a_user_and_address",
            "failed_logins_a_minute_a_user",
        ),
    ] {
        let refused = with(&[(name, value)]).unwrap_err().to_string();
        assert!(refused.contains(key) && refused.contains(other), "{refused}");
    }
    let tokens =
        [("GOCHAT__REPO__LIMITS__REFRESH_TOKEN_DAYS", "1"), ("GOCHAT__REPO__LIMITS__ACCESS_TOKEN_SECONDS", "100000")];
    let refused = with(&tokens).unwrap_err().to_string();
    assert!(refused.contains("access_token_seconds") && refused.contains("refresh_token_days"), "{refused}");
}

#[test]
fn of_two_time_limits_the_inner_one_ends_first() {
    let config = Config::default();
    let (server, guard, cache) = (&config.repo.store.server, &config.repo.guard, &config.repo.cache.redis);
    let request = config.repo.limits.request_timeout_ms;
    let read = [server.statement_ms(Access::ReadOnly), server.read_timeout_ms, guard.read_timeout_ms, request];
    let write = [
        server.lock_timeout_ms,
        server.statement_ms(Access::ReadWrite),
        server.call_timeout_ms,
        guard.write_timeout_ms,
        request,
    ];
    assert!(read.is_sorted_by(|inner, outer| inner < outer), "{read:?}");
    assert!(write.is_sorted_by(|inner, outer| inner < outer), "{write:?}");
    assert!(server.acquire_timeout_ms < server.read_timeout_ms && server.replica_timeout_ms < server.read_timeout_ms);
    assert!(cache.call_timeout_ms < server.replica_timeout_ms, "a cache is there to be quick");
}

#[test]
fn clients_are_told_of_the_one_window() {
    let config = with(&[("GOCHAT__STAGES__DEDUPE_WINDOW_SECONDS", "20")]).unwrap();
    assert_eq!(config.resend_window().as_secs(), 20);
    let refused = with(&[("GOCHAT__GATEWAY__LIMITS__RESEND_WINDOW_S", "20")]).unwrap_err();
    assert!(matches!(refused, ConfigError::UnknownVariable { .. }), "there is one setting: {refused}");
}

#[test]
fn addresses_may_be_names() {
    let config = in_file(
        "[gateway]\nlisten = \"localhost:80\"\n[repo]\nlisten = \"0.0.0.0:9090\"\naddress = \"repo.internal:9090\"\n",
    )
    .unwrap();
    assert_eq!(config.gateway.listen.to_string(), "localhost:80");
    assert_eq!(config.repo_address().to_string(), "repo.internal:9090");
    assert_eq!(in_file("[repo]\nlisten = \"a:1\"\n").unwrap().repo_address().to_string(), "a:1");
    for text in [
        "[gateway]\nlisten = \"localhost\"\n",
        "[repo]\nlisten = \"http://a:1\"\n",
        "[log.kafka]\nbrokers = \"a:1,b\"\n",
    ] {
        let refused = in_file(text).unwrap_err().to_string();
        assert!(refused.contains("gochat.toml") && refused.to_lowercase().contains("host:port"), "{refused}");
    }
}
