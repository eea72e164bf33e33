//! Settings of a placement driver, from a file and from flags; all problems are told at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use flotilla_pd::PdConfig;
use flotilla_store::config::{ConfigError, LogConfig, Place, Problem, read_address};
use serde::Deserialize;

use super::{PD_PORT, config_fault, read_config};
use crate::{args::PdArgs, catalogue, fault::Fault};

/// What a file may say.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    name: Option<String>,
    data_dir: Option<String>,
    advertise: Option<String>,
    insecure: bool,
    max_replicas: Option<u32>,
    min_free_disk: Option<String>,
    listen: Listen,
    log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
struct Listen {
    client: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields, default)]
struct Log {
    level: Option<String>,
    file: Option<String>,
}

/// Collects what is wrong.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, code: &'static str, what: String, why: &str) {
        self.0.push(Problem { place: None, what, why: why.to_owned(), code });
    }
}

/// The settings to start with.
pub(super) fn resolve(args: &PdArgs) -> Result<(PdConfig, LogConfig), Fault> {
    let (source, file) = match read_config(&args.server)? {
        Some((name, text)) => {
            let file = parse(&name, &text).map_err(|error| config_fault(&error))?;
            (name, file)
        }
        None => ("the command line".to_owned(), File::default()),
    };
    let mut problems = Problems::default();
    let resolved = merge(args, file, &mut problems);
    if problems.0.is_empty() {
        return Ok(resolved);
    }
    Err(config_fault(&ConfigError { source, problems: problems.0 }))
}

fn parse(source: &str, text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| place(text, span.start));
        let (what, why) = (error.message().to_owned(), String::new());
        let problems = vec![Problem { place, what, why, code: catalogue::BAD_CONFIG.code }];
        ConfigError { source: source.to_owned(), problems }
    })
}

fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[line_start..].chars().count() + 1;
    Place { line: before.matches('\n').count() + 1, column }
}

fn merge(args: &PdArgs, file: File, problems: &mut Problems) -> (PdConfig, LogConfig) {
    let (bad, exposed) = (catalogue::BAD_CONFIG.code, catalogue::EXPOSED.code);
    let server = &args.server;
    let data_dir = server.data.clone().or_else(|| file.data_dir.map(Into::into));
    if data_dir.is_none() {
        let why = "a placement driver needs a directory of its own, e.g. --data /var/lib/flotilla/pd, or data-dir in the file";
        problems.add(bad, "data-dir".to_owned(), why);
    }
    let listen = server.listen.clone().or(file.listen.client);
    let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PD_PORT);
    let address =
        listen.as_ref().map_or(Some(usual), |text| read_address(text)).unwrap_or_else(|| {
            let text = listen.as_deref().unwrap_or_default();
            let why = "an address needs an IP and a port, e.g. \"127.0.0.1:2379\"";
            problems.add(bad, format!("listen.client = {text:?}"), why);
            usual
        });
    let advertise = server.advertise.clone().or(file.advertise);
    if !address.ip().is_loopback() && !server.insecure && !file.insecure {
        let why = "not a loopback address, and connections are not encrypted: listen on loopback, or \
                   set insecure = true";
        problems.add(exposed, format!("listen.client = \"{address}\""), why);
    }
    if address.ip().is_unspecified() && advertise.is_none() {
        let why = "others cannot connect to this address: say with \"advertise\" how they reach it";
        problems.add(bad, format!("listen.client = \"{address}\""), why);
    }
    let name = args.name.clone().or(file.name).unwrap_or_else(|| "pd-1".to_owned());
    let mut config = PdConfig::new(name, data_dir.unwrap_or_default(), address);
    config.advertise_client_url = advertise.map(|text| match text.contains("://") {
        true => text,
        false => format!("http://{text}"),
    });
    config.max_replicas = args.max_replicas.or(file.max_replicas).unwrap_or(config.max_replicas);
    if !(1..=7).contains(&config.max_replicas) {
        problems.add(bad, format!("max-replicas = {}", config.max_replicas), "1 to 7 are possible");
    }
    if let Some(text) = file.min_free_disk {
        match text.parse() {
            Ok(size) => config.free_min = size,
            Err(_no_size) => {
                let why = "a size needs a unit, e.g. \"8MiB\"";
                problems.add(bad, format!("min-free-disk = {text:?}"), why);
            }
        }
    }
    let level = server.log_level.clone().or(file.log.level).unwrap_or_else(|| "info".to_owned());
    let log_file = server.log_file.clone().or_else(|| file.log.file.map(Into::into));
    (config, LogConfig { level, file: log_file })
}

/// A file that says nothing, with every key there is.
#[cfg(test)]
pub(super) fn nothing_said() -> serde_json::Value {
    serde_json::to_value(File::default()).expect("names and texts")
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "name = \"pd-1\"\nmax-replicas = 5\nmin-free-disk = \"8MiB\"\ninsecure = true\n\
        [listen]\nclient = \"127.0.0.1:2379\"\n[log]\nlevel = \"info\"\n";

    proptest! {
        #[test]
        fn damaged_files_are_used_or_explained(
            bytes in damaged(Just(GOOD.as_bytes().to_vec())),
        ) {
            if let Err(problems) = settings(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(problems.iter().all(|what| !what.is_empty()) && !problems.is_empty());
            }
        }
    }

    fn settings(text: &str) -> Result<PdConfig, Vec<String>> {
        let mut problems = Problems::default();
        let args = PdArgs {
            server: crate::args::ServerArgs {
                config: None,
                data: Some("d".into()),
                listen: None,
                advertise: None,
                insecure: false,
                log_level: None,
                log_file: None,
                exit_on_stdin_eof: false,
            },
            name: None,
            max_replicas: None,
        };
        let file = parse("pd.toml", text).map_err(|error| vec![error.to_string()])?;
        let (config, _log) = merge(&args, file, &mut problems);
        let problems: Vec<String> = problems.0.into_iter().map(|problem| problem.what).collect();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    #[test]
    fn a_file_says_only_what_differs_and_flags_win() {
        let config = settings("max-replicas = 5\ndata-dir = \"other\"\n").expect("fine");
        assert_eq!((config.max_replicas, config.data_dir.to_str()), (5, Some("d")));
        assert_eq!(config.client_address.port(), PD_PORT);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let unknown = settings("max-replics = 5\n").expect_err("unknown key");
        assert!(unknown[0].contains("1:1") && unknown[0].contains("max-replics"), "{unknown:?}");
        let text = "max-replicas = 9\nmin-free-disk = \"8\"\n[listen]\nclient = \"0.0.0.0:1\"\n";
        assert_eq!(settings(text).expect_err("problems").len(), 4);
        let local = settings("[listen]\nclient = \"localhost:7\"\n").expect("fine");
        assert_eq!(local.client_address.to_string(), "127.0.0.1:7");
    }
}
