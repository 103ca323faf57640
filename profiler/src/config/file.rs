//! The file of `--config`. Its keys are the options of `agent`, and its values become their defaults: so clap itself
//! prefers flags and the environment, and checks a value of the file as it checks one of a flag.

use std::{ffi::OsString, fs, path::Path};

use clap::{Arg, Args as _, Command, FromArgMatches as _};
use serde::{
    Deserialize as _, Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, Visitor},
};
use toml::Value;

use super::ConfigError;
use crate::cli::{self, AgentArguments, Cli};

/// The option whose values in the file and in flags go together, unless they have one key.
const TAGS: &str = "tags";
/// What an empty list means.
const EMPTY: &str = "none";

/// What was typed, over the environment, over the file that one of them names, over the defaults.
pub fn command_line(command: Command, words: &[OsString]) -> Result<Cli, ConfigError> {
    let typed = parse(command.clone(), words)?;
    let cli::Command::Agent(arguments) = &typed.command else {
        return Ok(typed);
    };
    let Some(path) = &arguments.config else {
        return Ok(typed);
    };
    let file = File::read(path)?;
    let tags = file.tags;
    let defaults = file.defaults.into_iter();
    let command = command.mut_subcommand("agent", |agent| {
        defaults.fold(agent, |agent, (option, values)| {
            agent.mut_arg(option, |option| option.default_values(values))
        })
    });
    let mut cli = parse(command, words)?;
    if let cli::Command::Agent(arguments) = &mut cli.command {
        let typed = &mut arguments.labels.tags;
        let other = |(key, _): &(String, String)| !typed.iter().any(|(typed, _)| typed == key);
        let tags: Vec<_> = tags.into_iter().filter(other).collect();
        typed.splice(0..0, tags);
    }
    Ok(cli)
}

fn parse(command: Command, words: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// What a file says, checked.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Names of options, and the words that would be given to their flags.
    defaults: Vec<(String, Vec<String>)>,
    /// Labels for every profile.
    pub(super) tags: Vec<(String, String)>,
}

impl File {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text).map_err(|error| ConfigError::Invalid {
            path: path.to_owned(),
            error: Box::new(error),
        })
    }

    pub(super) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::Deserializer::parse(text)?.deserialize_map(Options(&options()))
    }

    /// The words of an option.
    #[cfg(test)]
    pub(super) fn words(&self, name: &str) -> &[String] {
        let found = self.defaults.iter().find(|(option, _)| option == name);
        found.map_or(&[], |(_, words)| words)
    }
}

/// The options of `agent` alone.
pub(super) fn options() -> Command {
    AgentArguments::augment_args(Command::new("agent").no_binary_name(true))
}

/// The options that a file may set: all that `--help` shows, but for the one that names the file.
pub(super) fn keys(options: &Command) -> impl Iterator<Item = &Arg> {
    let shown = options.get_arguments().filter(|it| !it.is_hide_set());
    shown.filter(|it| it.get_id() != "config")
}

/// Reads the file by the options that there are.
struct Options<'a>(&'a Command);

impl<'de> Visitor<'de> for Options<'_> {
    type Value = File;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the options of `spanprof agent`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
        let mut file = File::default();
        while let Some(option) = map.next_key_seed(Key(self.0))? {
            let (words, tags) = map.next_value_seed(Words(self.0, option))?;
            if option.get_id() == TAGS {
                file.tags = tags;
            } else {
                file.defaults.push((option.get_id().to_string(), words));
            }
        }
        Ok(file)
    }
}

/// A key of the file: the option of that name. The error of one that is unknown is said at its line.
struct Key<'a>(&'a Command);

impl<'de, 'a> DeserializeSeed<'de> for Key<'a> {
    type Value = &'a Arg;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<&'a Arg, D::Error> {
        let name = String::deserialize(name)?;
        let known = keys(self.0).find(|it| it.get_id() == name.as_str());
        known.ok_or_else(|| {
            let all: Vec<String> = keys(self.0)
                .map(|it| format!("`{}`", it.get_id()))
                .collect();
            let all = all.join(", ");
            D::Error::custom(format!("unknown field `{name}`, expected one of {all}"))
        })
    }
}

/// The value of an option: the words that would be given to its flag, and what tags they are.
struct Words<'a>(&'a Command, &'a Arg);

impl<'de> DeserializeSeed<'de> for Words<'_> {
    type Value = (Vec<String>, Vec<(String, String)>);

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        let Self(options, option) = self;
        let words = words(Value::deserialize(value)?).map_err(de::Error::custom)?;
        let flag = option.get_long().unwrap_or_default();
        let flags = words.iter().map(|word| format!("--{flag}={word}"));
        let mut checked = options
            .clone()
            .try_get_matches_from(flags)
            .map_err(|error| D::Error::custom(first_paragraph(&error)))?;
        let tags = checked.remove_many(TAGS).into_iter().flatten();
        Ok((words, tags.collect()))
    }
}

/// The words that stand for a value; for a table one for each of its keys, as `--tag` takes them.
fn words(value: Value) -> Result<Vec<String>, &'static str> {
    Ok(match value {
        Value::Array(list) if list.is_empty() => vec![EMPTY.to_owned()],
        Value::Array(list) => list.into_iter().map(word).collect::<Result<_, _>>()?,
        Value::Table(table) => table
            .into_iter()
            .map(|(key, value)| word(value).map(|value| format!("{key}={value}")))
            .collect::<Result<_, _>>()?,
        value => vec![word(value)?],
    })
}

fn word(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(answer) => Ok(answer.to_string()),
        Value::Datetime(_) => Err("no option takes a date"),
        Value::Array(_) | Value::Table(_) => Err("no option takes a list or table within another"),
    }
}

/// What clap says of a value, without what it says of command lines.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.split("\n\n").next().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory as _;

    use super::{File, command_line};
    use crate::cli::{AgentArguments, Cli, Command, ServiceLabelArgument};

    /// What the agent is told by these flags and a file of this text.
    fn agent(text: &str, flags: &[&str]) -> Result<AgentArguments, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spanprof.toml");
        std::fs::write(&path, text).unwrap();
        let words = ["spanprof", "agent", "--config", path.to_str().unwrap()];
        let words = words.iter().chain(flags).map(OsString::from);
        // The environment stands between the two: this variable is always set.
        let command = Cli::command().mut_subcommand("agent", |agent| {
            agent.mut_arg("tenant_id", |option| option.env("PATH"))
        });
        let cli = command_line(command, &Vec::from_iter(words)).map_err(|it| it.to_string())?;
        match cli.command {
            Command::Agent(arguments) => Ok(*arguments),
            _ => panic!("not agent"),
        }
    }

    fn error(text: &str) -> String {
        File::parse(text).unwrap_err().to_string()
    }

    /// Flags win over the environment, that over the file, that over the defaults.
    #[test]
    fn precedence() {
        let text = "frequency = 7\nmax_spans = 100\ntenant_id = \"file\"\n";
        let arguments = agent(text, &["--frequency", "8"]).unwrap();
        assert_eq!(arguments.sampling.frequency, 8);
        assert_eq!(arguments.sampling.max_spans, 100);
        assert_eq!(arguments.sampling.max_threads, 8192);
        assert_eq!(arguments.access.tenant_id, std::env::var("PATH").ok());
        let arguments = agent(text, &["--tenant-id", "flag"]).unwrap();
        assert_eq!(arguments.access.tenant_id.as_deref(), Some("flag"));
    }

    /// A tag of a flag takes the place of that of the file with its key, and of no other.
    #[test]
    fn tags_go_together() {
        let text = "[tags]\nregion = \"eu=1\"\nzone = \"a\"\n";
        let of = |flags: &[&str]| agent(text, flags).unwrap().labels.tags;
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(of(&[]), [pair("region", "eu=1"), pair("zone", "a")]);
        assert_eq!(
            of(&["--tag", "zone=b"]),
            [pair("region", "eu=1"), pair("zone", "b")]
        );
    }

    /// Numbers, truths and lists are what they are for flags; a list of nothing is no label.
    #[test]
    fn kinds_of_values() {
        let labels = |text: &str| agent(text, &[]).unwrap().labels;
        let list = "service_labels = [\"instance-id\", \"version\"]\ntrace_id_label = true";
        let list = labels(list);
        assert!(list.trace_id_label);
        assert_eq!(
            list.service_labels,
            [
                ServiceLabelArgument::InstanceId,
                ServiceLabelArgument::Version
            ]
        );
        assert_eq!(
            labels("service_labels = []").service_labels,
            [ServiceLabelArgument::None]
        );
    }

    /// What is wrong with a file is said with its line, and what would be right.
    #[test]
    fn errors() {
        let unknown = error("frequency = 9\nfrequnecy = 9\n");
        assert!(unknown.contains("line 2, column 1"), "{unknown}");
        assert!(
            unknown.contains("unknown field `frequnecy`, expected one of `pyroscope_url`, "),
            "{unknown}"
        );
        let range = error("frequency = 5000\n");
        assert!(range.contains("line 1, column 13"), "{range}");
        assert!(range.ends_with("5000 is not in 1..=4999\n"), "{range}");
        let word = error("native = \"some\"\n");
        assert!(word.contains("python-only, merged, full"), "{word}");
        for (text, why) in [
            ("upload_interval = 15", "write 10s, 500ms or 2m"),
            ("frequency = [1, 2]", "multiple times"),
            ("frequency = 1979-05-27", "no option takes a date"),
            ("tags = [[\"a\"]]", "within another"),
            ("tags = [\"region\"]", "write KEY=VALUE"),
            // These are no settings, though they are flags.
            ("config = \"other\"", "unknown field"),
            ("ring_size = 4096", "unknown field"),
        ] {
            let error = error(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
