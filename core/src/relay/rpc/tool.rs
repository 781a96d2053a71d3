//! The arguments of `rg` and `difft`: only those that are known to read nothing but the paths
//! that they name.
//!
//! Either program would otherwise read any file, and `rg --pre` would run any command, though
//! only a search was allowed. An option's value is joined to its long name, so that no value is
//! taken for an option.

use alloc::string::String;
use alloc::vec::Vec;

use super::call::{self, Bounds, MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, MAX_PATH_BYTES, Place};
use super::invalid::{Invalid, Parameter};
use crate::relay::path::confine;
use crate::relay::raw::Raw;

/// A run of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Invocation {
    /// The program's name.
    pub program: &'static str,
    /// Where it runs.
    pub directory: Place,
    /// What goes before `--`.
    pub options: Vec<String>,
    /// What goes first behind `--`.
    pub pattern: Option<String>,
    /// What goes behind it.
    pub paths: Vec<Place>,
}

/// A program and the arguments that it may be given.
pub(super) struct Tool {
    program: &'static str,
    /// What goes before all else.
    prefix: &'static [&'static str],
    /// Options without a value.
    switches: &'static [&'static str],
    /// Options with a value, behind `=` or as the next argument, and their long names.
    valued: &'static [(&'static str, &'static str)],
    /// Options that make up for a pattern: with one of them all operands are paths.
    patterns: &'static [&'static str],
    /// Whether the first operand is a pattern.
    takes_pattern: bool,
    /// Options that are accepted and not passed on.
    ignored: &'static [&'static str],
}

pub(super) const RIPGREP: Tool = Tool {
    program: "rg",
    // Files of ignored names are looked for below only, and what they hold is not told.
    prefix: &[
        "--no-config",
        "--no-follow",
        "--no-ignore-parent",
        "--no-ignore-global",
        "--no-ignore-exclude",
        "--no-ignore-messages",
    ],
    switches: &[
        "--json",
        "--files",
        "--files-with-matches",
        "--files-without-match",
        "-l",
        "--count",
        "-c",
        "--count-matches",
        "--hidden",
        "-.",
        "--no-hidden",
        "--no-ignore",
        "--no-ignore-vcs",
        "--ignore-case",
        "-i",
        "--smart-case",
        "-S",
        "--case-sensitive",
        "-s",
        "--fixed-strings",
        "-F",
        "--word-regexp",
        "-w",
        "--line-regexp",
        "-x",
        "--line-number",
        "-n",
        "--no-line-number",
        "-N",
        "--column",
        "--heading",
        "--no-heading",
        "--with-filename",
        "-H",
        "--no-filename",
        "-I",
        "--multiline",
        "-U",
        "--multiline-dotall",
        "--invert-match",
        "-v",
        "--only-matching",
        "-o",
        "--null",
        "-0",
        "--vimgrep",
        "--stats",
        "--trim",
        "--text",
        "-a",
        "--pcre2",
        "-P",
        "--version",
        "-V",
        "--type-list",
        "--no-messages",
        "--passthru",
        "--quiet",
        "-q",
        "--unrestricted",
        "-u",
        "-uu",
        "--pretty",
        "-p",
    ],
    valued: &[
        ("--regexp", "--regexp"),
        ("-e", "--regexp"),
        ("--glob", "--glob"),
        ("-g", "--glob"),
        ("--iglob", "--iglob"),
        ("--type", "--type"),
        ("-t", "--type"),
        ("--type-not", "--type-not"),
        ("-T", "--type-not"),
        ("--max-count", "--max-count"),
        ("-m", "--max-count"),
        ("--max-depth", "--max-depth"),
        ("-d", "--max-depth"),
        ("--max-filesize", "--max-filesize"),
        ("--max-columns", "--max-columns"),
        ("-M", "--max-columns"),
        ("--context", "--context"),
        ("-C", "--context"),
        ("--after-context", "--after-context"),
        ("-A", "--after-context"),
        ("--before-context", "--before-context"),
        ("-B", "--before-context"),
        ("--color", "--color"),
        ("--sort", "--sort"),
        ("--sortr", "--sortr"),
        ("--threads", "--threads"),
        ("-j", "--threads"),
        ("--encoding", "--encoding"),
        ("-E", "--encoding"),
        ("--replace", "--replace"),
        ("-r", "--replace"),
        ("--engine", "--engine"),
    ],
    patterns: &["--regexp", "--files", "--type-list"],
    takes_pattern: true,
    // The app asks for it; links lead out.
    ignored: &["--follow", "-L", "--no-follow"],
};

pub(super) const DIFFTASTIC: Tool = Tool {
    program: "difft",
    prefix: &[],
    switches: &[
        "--skip-unchanged",
        "--check-only",
        "--ignore-comments",
        "--strip-cr",
        "--version",
        "--list-languages",
        "--exit-code",
    ],
    valued: &[
        ("--display", "--display"),
        ("--color", "--color"),
        ("--background", "--background"),
        ("--syntax-highlight", "--syntax-highlight"),
        ("--width", "--width"),
        ("--context", "--context"),
        ("--tab-width", "--tab-width"),
        ("--byte-limit", "--byte-limit"),
        ("--graph-limit", "--graph-limit"),
        ("--parse-error-limit", "--parse-error-limit"),
        ("--sort-paths", "--sort-paths"),
    ],
    patterns: &[],
    takes_pattern: false,
    ignored: &[],
};

/// `{args, cwd?}`.
pub(super) fn parse<'a>(
    tool: &Tool,
    params: Raw<'a>,
    bounds: &Bounds<'_>,
) -> Result<Invocation, Invalid<'a>> {
    let directory = match call::directory(params)? {
        Some((raw, named)) => call::place(raw, named, bounds)?,
        None => call::working(),
    };
    let (mut options, operands) = tool.sort(&arguments(params.get("args"))?)?;
    let prefix = tool.prefix.iter().copied().map(String::from);
    options.splice(..0, prefix);
    let is_found = |option: &String| {
        let name = option.split('=').next().unwrap_or_default();
        tool.patterns.contains(&name)
    };
    let wants_pattern = tool.takes_pattern && !options.iter().any(is_found);
    let mut operands = operands.into_iter();
    let pattern = wants_pattern.then(|| operands.next()).flatten();
    let paths = operands.map(|(raw, named)| operand(raw, named, &directory, bounds));
    let paths = paths.collect::<Result<_, _>>()?;
    Ok(Invocation {
        program: tool.program,
        directory,
        options,
        pattern: pattern.map(|(_, pattern)| pattern),
        paths,
    })
}

type Texts<'a> = Vec<(Raw<'a>, String)>;

fn arguments(value: Option<Raw<'_>>) -> Result<Texts<'_>, Invalid<'_>> {
    let (mut texts, mut wrong) = (Vec::new(), None);
    let walked = value.and_then(|value| {
        value.each_element(|element| {
            match call::text(Some(element), Parameter::Arguments, MAX_ARGUMENT_BYTES) {
                Ok(_) if texts.len() >= MAX_ARGUMENTS => wrong = Some(Invalid::TooManyArguments),
                Ok(text) => texts.push((element, text)),
                Err(invalid) => wrong = Some(invalid),
            }
            wrong.is_none()
        })
    });
    walked.ok_or(Invalid::NotText {
        parameter: Parameter::Arguments,
        received: value,
    })?;
    wrong.map_or(Ok(texts), Err)
}

impl Tool {
    /// Parts the options, as they are passed on, from the operands.
    fn sort<'a>(&self, texts: &Texts<'a>) -> Result<(Vec<String>, Texts<'a>), Invalid<'a>> {
        let (mut options, mut operands) = (Vec::new(), Vec::new());
        let mut texts = texts.iter();
        while let Some((raw, text)) = texts.next() {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (text.as_str(), None),
            };
            let valued = self.valued.iter().find(|(short, _)| *short == name);
            if text == "--" {
                operands.extend(texts.by_ref().cloned());
            } else if self.switches.contains(&text.as_str()) {
                options.push(text.clone());
            } else if let Some((_, long)) = valued {
                let next = || texts.next().map(|(_, text)| text.as_str());
                let value = value.or_else(next).ok_or(Invalid::NoValue(*raw))?;
                options.push(alloc::format!("{long}={value}"));
            } else if text.starts_with('-') && text != "-" {
                if !self.ignored.contains(&text.as_str()) {
                    return Err(Invalid::NotAllowed(*raw));
                }
            } else {
                operands.push((*raw, text.clone()));
            }
        }
        Ok((options, operands))
    }
}

/// A path that is named relative to the directory that the program runs in.
fn operand<'a>(
    raw: Raw<'a>,
    named: String,
    directory: &Place,
    bounds: &Bounds<'_>,
) -> Result<Place, Invalid<'a>> {
    if named.len() > MAX_PATH_BYTES {
        let (parameter, max) = (Parameter::Path, MAX_PATH_BYTES);
        return Err(Invalid::TooLong { parameter, max });
    }
    if named.starts_with('/') {
        return call::place(raw, named, bounds);
    }
    let from = alloc::format!("{}/{}/{named}", bounds.directory, directory.below);
    let below = confine(bounds.directory, &from).map_err(|_| Invalid::Outside(raw))?;
    Ok(Place { named, below })
}

#[cfg(test)]
mod tests {
    use super::super::{Call, Method};
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;
    use core::time::Duration;

    const BOUNDS: Bounds<'_> = Bounds {
        directory: "/w",
        max_file_bytes: 4,
        max_depth: 3,
        command_timeout: Duration::from_secs(30),
        max_time: Duration::from_secs(600),
    };

    /// The command line behind what is always there, with paths as they are below; or the error.
    fn line(method: Method, args: &str) -> Result<String, String> {
        let text = format!(r#"{{"args":{args},"cwd":"d"}}"#);
        let raw = Raw::parse(&text).expect("JSON");
        let call = Call::parse(method, raw, &BOUNDS).map_err(|invalid| {
            let answer = invalid.answer(method);
            assert_eq!(answer, super::super::failure(&invalid.to_string()));
            invalid.to_string()
        })?;
        let Call::Tool(invocation) = call else {
            panic!("{call:?}");
        };
        let tool = match method {
            Method::Ripgrep => RIPGREP,
            _ => DIFFTASTIC,
        };
        assert_eq!(invocation.program, tool.program);
        let (prefix, options) = invocation.options.split_at(tool.prefix.len());
        assert_eq!(prefix, tool.prefix);
        let paths = invocation.paths.iter().map(|path| path.below.as_str());
        let options = options.iter().map(String::as_str);
        let pattern = invocation.pattern.as_deref();
        let words = options.chain(["--"]).chain(pattern).chain(paths);
        Ok(words.collect::<Vec<_>>().join(" "))
    }

    /// Covers: R9.10a
    #[test]
    fn arguments_are_options_a_pattern_and_paths() {
        for (args, expected) in [
            ("[]", "--"),
            (r#"["x"]"#, "-- x"),
            (r#"["x","-i","a","../b",".","/w"]"#, "-i -- x d/a b d "),
            (r#"["--files","a"]"#, "--files -- d/a"),
            (r#"["--files","--follow","-L","--no-follow"]"#, "--files --"),
            (r#"["--type-list"]"#, "--type-list --"),
            (r#"["-e","-x","a"]"#, "--regexp=-x -- d/a"),
            (r#"["--regexp=a=b","a"]"#, "--regexp=a=b -- d/a"),
            (r#"["-g","--pre=x","p"]"#, "--glob=--pre=x -- p"),
            (r#"["--glob","","p"]"#, "--glob= -- p"),
            (r#"["-A","--","p"]"#, "--after-context=-- -- p"),
            (r#"["--","-x","-y"]"#, "-- -x d/-y"),
            (r#"["-","-"]"#, "-- - d/-"),
            (r#"["a=b","c=d"]"#, "-- a=b d/c=d"),
        ] {
            assert_eq!(
                line(Method::Ripgrep, args).as_deref(),
                Ok(expected),
                "{args}"
            );
        }
        for (args, expected) in [
            (r#"["a","b"]"#, "-- d/a d/b"),
            (r#"["--width","80","a"]"#, "--width=80 -- d/a"),
        ] {
            assert_eq!(line(Method::Difftastic, args).as_deref(), Ok(expected));
        }
    }

    /// Covers: R9.10a
    #[test]
    fn what_reads_or_runs_something_else_is_refused() {
        for argument in [
            "--pre",
            "--pre=touch",
            "--hostname-bin=touch",
            "-f",
            "--file=/etc/passwd",
            "--ignore-file=x",
            "--search-zip",
            "-z",
            "-fx",
            "-iz",
            "--debug",
            "--config",
            "--files=x",
            "--follow=x",
            "-L=x",
            "-g=x",
        ] {
            let args = format!(r#"["x","{argument}"]"#);
            let error = format!("Access denied: the argument '{argument}' is not allowed");
            assert_eq!(line(Method::Ripgrep, &args), Err(error));
        }
        for argument in ["--dump-syntax", "--override=*.x:json", "-L", "-e"] {
            let args = format!(r#"["{argument}"]"#);
            let error = format!("Access denied: the argument '{argument}' is not allowed");
            assert_eq!(line(Method::Difftastic, &args), Err(error));
        }
        let outside = |path: &str| {
            Err(format!(
                "Access denied: Path '{path}' is outside the working directory"
            ))
        };
        for path in ["../..", "/etc", "/w/..", "a/../../../w/../x"] {
            let args = format!(r#"["x","{path}"]"#);
            assert_eq!(line(Method::Ripgrep, &args), outside(path));
            let args = format!(r#"["a","--","{path}"]"#);
            assert_eq!(line(Method::Difftastic, &args), outside(path));
        }
    }

    #[test]
    fn arguments_are_strings_and_bounded() {
        let wrong = |received| {
            Err(format!(
                "The \"args\" argument must be an instance of Array of strings. Received {received}"
            ))
        };
        for (args, received) in [
            ("\"x\"", "type string"),
            ("null", "null"),
            ("{}", "an instance of Object"),
            ("[1,2]", "type number (1)"),
            (r#"["x",null]"#, "null"),
        ] {
            assert_eq!(line(Method::Ripgrep, args), wrong(received));
        }
        let raw = Raw::parse(r#"{"cwd":"d"}"#).unwrap();
        let invalid = Call::parse(Method::Ripgrep, raw, &BOUNDS).unwrap_err();
        assert_eq!(Err(invalid.to_string()), wrong("undefined"));
        let many = |count| format!("[{}]", ["\"-i\""].repeat(count).join(","));
        assert!(line(Method::Ripgrep, &many(MAX_ARGUMENTS)).is_ok());
        let error = "There are more than 1024 arguments".to_string();
        assert_eq!(line(Method::Ripgrep, &many(MAX_ARGUMENTS + 1)), Err(error));
        let path = |bytes| format!(r#"["p","{}"]"#, "a".repeat(bytes));
        assert!(line(Method::Ripgrep, &path(MAX_PATH_BYTES)).is_ok());
        let error = "The path has more than 4096 bytes".to_string();
        assert_eq!(line(Method::Ripgrep, &path(MAX_PATH_BYTES + 1)), Err(error));
        let pattern = |bytes| format!(r#"["{}"]"#, "a".repeat(bytes));
        assert!(line(Method::Ripgrep, &pattern(MAX_ARGUMENT_BYTES)).is_ok());
        for (args, error) in [
            (
                &*pattern(MAX_ARGUMENT_BYTES + 1),
                "The args has more than 131071 bytes",
            ),
            (
                r#"["\ud800"]"#,
                "The argument 'args' must be a string of Unicode",
            ),
            (
                r#"["\u0000"]"#,
                "The argument 'args' must be a string without null bytes",
            ),
            (r#"["x","-g"]"#, "-g has no value"),
        ] {
            assert_eq!(line(Method::Ripgrep, args), Err(error.to_string()));
        }
    }
}
