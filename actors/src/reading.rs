//! What the readers of settings need besides their own block.

use std::path::{Path, PathBuf};

use posthaste_config::module::InstanceRef;
use posthaste_config::problem::{Problem, Problems, shown};
use posthaste_config::{References, TopBlock, TopKind};

/// One reading of a configuration. Readers report into `problems` and go on with a default; whoever started the reading asks
/// `has_errors` in the end.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub references: &'a References<'a>,
    pub problems: &'a Problems,
    /// What relative paths count from, unless their directive says otherwise.
    pub state_dir: &'a Path,
}

impl<'a> Reading<'a> {
    /// The block that `&name` means, when it is of one of these modules; anything else is reported. `what` says what is wanted: `a
    /// table`.
    pub fn instance(
        &self,
        wanted: &InstanceRef,
        what: &str,
        modules: &[(&str, TopKind)],
    ) -> Option<&'a TopBlock> {
        let block = self.report(self.references.resolve(wanted))?;
        if modules.iter().any(|(name, _)| *name == block.module) {
            return Some(block);
        }
        // A module that is not implemented has been reported at its own place.
        if block.kind != TopKind::NotImplemented {
            let (name, module) = (shown(&wanted.name), &block.module);
            self.problems.error(&wanted.at, format!("&{name} is a {module} and not {what}"));
        }
        None
    }

    /// The value, or a report of why there is none.
    pub fn report<T>(&self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// The path from `state_dir` on, unless it is absolute.
    pub fn in_state_dir(&self, path: &Path) -> PathBuf {
        self.state_dir.join(path)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use posthaste_config::{Document, Environment, Loaded, Place};

    use super::*;

    const MODULES: &[(&str, TopKind)] = &[
        ("auth.pass_table", TopKind::Instance),
        ("limits", TopKind::Instance),
        ("mx_auth", TopKind::Instance),
        ("submission", TopKind::Endpoint),
        ("table.chain", TopKind::Instance),
        ("table.file", TopKind::Instance),
        ("table.regexp", TopKind::Instance),
        ("table.static", TopKind::Instance),
        ("target.remote", TopKind::Instance),
        ("table.sql_table", TopKind::NotImplemented),
    ];

    /// Reads a configuration text, with `/state` as its state directory; gives what the reader made of it and the problems.
    pub fn read<T>(
        text: &str,
        reader: impl FnOnce(&Reading<'_>, &[TopBlock]) -> T,
    ) -> (T, Vec<String>) {
        read_in(Path::new("/state"), text, reader)
    }

    pub fn read_in<T>(
        state_dir: &Path,
        text: &str,
        reader: impl FnOnce(&Reading<'_>, &[TopBlock]) -> T,
    ) -> (T, Vec<String>) {
        let files = |_: &Path| Ok(text.as_bytes().to_vec());
        let Loaded { blocks, problems, .. } =
            Document::load(Path::new("c"), &Environment::empty(), &[], &files, MODULES);
        let references = References::new(&blocks);
        let reading = Reading { references: &references, problems: &problems, state_dir };
        let value = reader(&reading, &blocks);
        (value, problems.sorted().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn an_instance_has_the_right_module_or_is_reported() {
        let text = "limits shared {\n}\ntarget.remote out {\n}\ntable.sql_table sql {\n}";
        let (found, problems) = read(text, |reading, _| {
            let instance = |name: &str, line| {
                let wanted = InstanceRef { name: name.to_string(), at: Place::line("c", line) };
                let block = reading.instance(&wanted, "limits", &[("limits", TopKind::Instance)]);
                block.map(|block| block.name().to_string())
            };
            [instance("shared", 7), instance("out", 8), instance("sql", 9), instance("shraed", 10)]
        });
        assert_eq!(found, [Some("shared".to_string()), None, None, None]);
        assert_eq!(
            problems,
            [
                "c:5: module table.sql_table is not implemented",
                "c:8: &out is a target.remote and not limits",
                "c:10: &shraed names no block, did you mean &shared?",
            ]
        );
    }

    #[test]
    fn relative_paths_count_from_the_state_directory() {
        let (paths, _) = read("", |reading, _| {
            [reading.in_state_dir(Path::new("a/b")), reading.in_state_dir(Path::new("/c"))]
        });
        assert_eq!(paths, [Path::new("/state/a/b"), Path::new("/c")]);
    }
}
