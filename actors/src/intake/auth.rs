//! Who may log in: `auth.pass_table`, user names and password hashes in a table.
//!
//! `auth` may stand several times; the providers are tried in order. Checking a password takes long by design, so it is done on a
//! blocking thread, and only so many at once. A user that does not exist costs as much as a wrong password: a hash is computed for both.
//!
//! User names are compared as PRECIS `UsernameCaseMapped` (RFC 8265 §3.3) would have it, as far as mail needs it: lower case, the domain
//! of an address in U-labels without its trailing dot, nothing with white space or control characters. Full-width forms are not folded,
//! and local parts are not composed (NFC).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_config::problem::Problem;
use posthaste_config::values::fault;
use posthaste_config::{Block, InlineModule, ModuleRef, Node, TopKind};
use posthaste_mail::address::Mailbox;
use posthaste_mail::password::PasswordHash;
use posthaste_mail::table::Table;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::table::Tables;
use crate::reading::Reading;

/// The blocks of the top level that this file reads.
pub const MODULES: [(&str, TopKind); 1] = [("auth.pass_table", TopKind::Instance)];

/// How long a login waits for its turn at computing.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The providers of an endpoint, in order. Clones share everything.
#[derive(Clone, Debug)]
pub struct Authenticator {
    providers: Arc<[Arc<PassTable>]>,
    /// Hashes may be computed by this many at once: each takes a processor, and up to a gigabyte.
    turns: Arc<Semaphore>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRefusal {
    /// No provider knows this user with this password: 535 5.7.8. Which of the two is wrong is not known here either.
    Credentials,
    /// A table or a stored hash cannot be used now, or there is no turn: 454 4.7.0. The text is for the log; it has no secrets.
    Temporary(String),
}

impl fmt::Display for AuthRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthRefusal::Credentials => f.write_str("wrong user name or password"),
            AuthRefusal::Temporary(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for AuthRefusal {}

impl Authenticator {
    /// Whether there is nobody to ask: no `auth` directive was given.
    pub fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    /// Checks what PLAIN (RFC 4616) or LOGIN brought. Gives the name of the account in the form it is compared in.
    pub async fn verify(&self, user: &str, password: &[u8]) -> Result<String, AuthRefusal> {
        let turn = timeout(LONGEST_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(AuthRefusal::Temporary("too many logins at once".to_string()));
        };
        let (providers, user, password) =
            (Arc::clone(&self.providers), user.to_string(), password.to_vec());
        let work = move || {
            let answer = verify(&providers, &user, &password);
            // The turn ends with the work, even if nobody waits for the answer any more.
            drop(turn);
            answer
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(answer) => answer,
            Err(_) => Err(AuthRefusal::Temporary("checking a password was cut short".to_string())),
        }
    }
}

fn verify(
    providers: &[Arc<PassTable>],
    user: &str,
    password: &[u8],
) -> Result<String, AuthRefusal> {
    let account = account_name(user);
    let mut trouble = None;
    for provider in providers {
        match (provider.verify(account.as_deref(), password), &account) {
            (Ok(true), Some(account)) => return Ok(account.clone()),
            (Ok(_), _) => {}
            (Err(text), _) => trouble = trouble.or(Some(text)),
        }
    }
    // Whoever could not be asked might have known.
    Err(trouble.map_or(AuthRefusal::Credentials, AuthRefusal::Temporary))
}

/// The form in which user names are compared; `None` for one that nobody can have.
fn account_name(user: &str) -> Option<String> {
    if user.is_empty() || user.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    Some(Mailbox::parse(user).map_or_else(|_| user.to_lowercase(), |mailbox| mailbox.normalized()))
}

/// A table from account names to stored password hashes.
#[derive(Debug)]
pub struct PassTable {
    /// For messages.
    name: String,
    table: Arc<dyn Table>,
    /// What is computed for a user that does not exist: the hash met last, so that it costs what the others of the table cost.
    stand_in: Mutex<Option<PasswordHash>>,
}

/// The stand-in before any hash was met: bcrypt at its usual cost, of no password anybody knows.
const FIRST_STAND_IN: &str = "$2b$10$.....................................................";

impl PassTable {
    fn new(name: String, table: Arc<dyn Table>) -> PassTable {
        let first = PasswordHash::parse(FIRST_STAND_IN).ok();
        PassTable { name, table, stand_in: Mutex::new(first) }
    }

    /// Whether this is the password of the account. The error is for the log.
    fn verify(&self, account: Option<&str>, password: &[u8]) -> Result<bool, String> {
        let stored = match account {
            None => None,
            Some(account) => self.stored(account)?,
        };
        let stand_in = || self.stand_in.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stored) = stored else {
            let hash = stand_in().clone();
            // Computed for the time it takes; the answer is no.
            let _ = hash.map(|hash| std::hint::black_box(hash.verify(password)));
            return Ok(false);
        };
        let trouble = |error| {
            let account = account.unwrap_or_default();
            format!("{}: account {account:?}: {error}", self.name)
        };
        let hash = PasswordHash::parse(&stored).map_err(trouble)?;
        *stand_in() = Some(hash.clone());
        hash.verify(password).map_err(trouble)
    }

    /// The stored hash; an empty value is an account without password.
    fn stored(&self, account: &str) -> Result<Option<String>, String> {
        let lookup = self.table.lookup(account);
        let values = lookup.map_err(|error| format!("{}: {error}", self.name))?;
        let Some(first) = values.first() else { return Ok(None) };
        // The file table splits values at commas, and the PHC form has some: `$argon2id$v=19$m=65536,t=2,p=1$...`.
        let stored = if first.contains("$argon2") { values.join(",") } else { first.clone() };
        // A table that gives back its key, or a part of it, would let clients bring the hash themselves, as a user name.
        Ok(Some(stored).filter(|stored| !account.contains(stored.as_str())))
    }
}

/// The password tables of one configuration. Those of the top level are made when they are first asked for, and once.
#[derive(Debug)]
pub struct PassTables {
    named: RefCell<BTreeMap<String, Option<Arc<PassTable>>>>,
    turns: Arc<Semaphore>,
}

impl Default for PassTables {
    fn default() -> PassTables {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        PassTables { named: RefCell::default(), turns: Arc::new(Semaphore::new(processors)) }
    }
}

impl PassTables {
    /// The providers of the `auth` directives of an endpoint. What is wrong with one is reported, and it is left out.
    pub fn authenticator(
        &self,
        reading: &Reading<'_>,
        tables: &Tables,
        directives: &[&Node],
    ) -> Authenticator {
        let read = |node: &&Node| self.read(reading, tables, node);
        let providers = directives.iter().filter_map(read).collect();
        Authenticator { providers, turns: Arc::clone(&self.turns) }
    }

    /// `auth pass_table TABLE...`, `auth pass_table { table TABLE... }` or `auth &NAME`.
    fn read(&self, reading: &Reading<'_>, tables: &Tables, node: &Node) -> Option<Arc<PassTable>> {
        let wanted = match reading.report(ModuleRef::of(node, "auth"))? {
            ModuleRef::Inline(module) => {
                reading.report(module.find(&MODULES.map(|(name, _)| name)))?;
                let table = inline_table(reading, tables, &module)?;
                return Some(Arc::new(PassTable::new("auth.pass_table".to_string(), table)));
            }
            ModuleRef::Instance(wanted) => wanted,
        };
        let block = reading.instance(&wanted, "an auth module", &MODULES)?;
        let mut named = self.named.borrow_mut();
        let made = named.entry(block.name().to_string()).or_insert_with(|| {
            let table = block_table(reading, tables, &block.node)?;
            Some(Arc::new(PassTable::new(block.node.title(), table)))
        });
        made.clone()
    }
}

/// Words behind the module are the table, and so is then the block.
fn inline_table(
    reading: &Reading<'_>,
    tables: &Tables,
    module: &InlineModule,
) -> Option<Arc<dyn Table>> {
    match module.args() {
        [] => block_table(reading, tables, &module.node),
        _ => tables.read(reading, &module.node),
    }
}

/// `{ table TABLE... }`.
fn block_table(reading: &Reading<'_>, tables: &Tables, node: &Node) -> Option<Arc<dyn Table>> {
    let mut block = Block::open(node, reading.problems);
    let table = block.directive("table").optional();
    block.close();
    let missing = || -> Problem { fault(node, "missing required directive table") };
    tables.read(reading, reading.report(table.ok_or_else(missing))?)
}

#[cfg(test)]
mod tests {
    use posthaste_config::TopBlock;
    use posthaste_mail::table::{
        EmailLocalpart, Entries, FileTable, Identity, LookupError, NotAnAddress,
    };
    use tokio::time::Instant;

    use super::*;
    use crate::intake::table::files::tests::Directory;
    use crate::reading::tests::{read, read_in};

    const SECRET: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    const GEHEIM: &str = "$2b$04$abcdefghijklmnopqrstuuPWRtT5yx7FBi4dcf6ROhboeNunUrLQ.";
    /// `secret` at a cost that can be measured.
    const SLOW_SECRET: &str = "$2b$09$abcdefghijklmnopqrstuuHGaj8X0gyV0nNYEM.J5pTQDq3AfkM3W";
    /// `secret` in the PHC form, which has commas.
    const PHC_SECRET: &str = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$FVyC9Idb/zXNhNsyjuyraWKeAc/n1whEQMvwuzK+mFo";

    /// The providers of the `submission` block, and the problems.
    fn authenticator(text: &str) -> (Authenticator, Vec<String>) {
        read(text, |reading, blocks| of_endpoint(reading, blocks, &Tables::default()))
    }

    fn of_endpoint(reading: &Reading<'_>, blocks: &[TopBlock], tables: &Tables) -> Authenticator {
        let endpoint = blocks.iter().find(|block| block.module == "submission").unwrap();
        let directives: Vec<&Node> = endpoint.node.children().iter().collect();
        PassTables::default().authenticator(reading, tables, &directives)
    }

    fn with_providers(providers: Vec<Arc<PassTable>>) -> Authenticator {
        Authenticator { providers: providers.into(), turns: PassTables::default().turns }
    }

    fn provider(entries: &[(&str, &str)]) -> Arc<PassTable> {
        let mut table = Entries::new();
        entries.iter().for_each(|(key, value)| table.add(key, &[value]));
        Arc::new(PassTable::new("t".to_string(), Arc::new(table)))
    }

    fn broken() -> Arc<PassTable> {
        Arc::new(PassTable::new("b".to_string(), Arc::new(FileTable::new("list"))))
    }

    fn yes(account: &str) -> Result<String, AuthRefusal> {
        Ok(account.to_string())
    }

    const NO: Result<String, AuthRefusal> = Err(AuthRefusal::Credentials);

    #[tokio::test]
    async fn the_right_password_of_the_right_user() {
        let auth = with_providers(vec![provider(&[
            ("ann@example.org", SECRET),
            ("bob", GEHEIM),
            ("ann@münchen.example", SECRET),
            ("nobody", ""),
            ("", SECRET),
            ("a b", SECRET),
        ])]);
        for (user, password, expected) in [
            ("ann@example.org", "secret", yes("ann@example.org")),
            ("Ann@Example.ORG", "secret", yes("ann@example.org")),
            ("ann@xn--mnchen-3ya.example", "secret", yes("ann@münchen.example")),
            ("BOB", "geheim", yes("bob")),
            ("bob", "secret", NO),
            ("bob", "Geheim", NO),
            ("bob", "", NO),
            ("ann", "secret", NO),
            ("eve", "secret", NO),
            ("nobody", "", NO), // an account without password
            ("", "secret", NO),
            ("a b", "secret", NO),
            ("bob\0", "geheim", NO),
            ("bob ", "geheim", NO),
        ] {
            assert_eq!(auth.verify(user, password.as_bytes()).await, expected, "{user:?}");
        }
        assert_eq!(with_providers(vec![]).verify("bob", b"geheim").await, NO);
    }

    #[tokio::test]
    async fn providers_are_asked_in_order_and_trouble_is_temporary() {
        let (ann, bob) = (|| provider(&[("ann", SECRET)]), || provider(&[("bob", GEHEIM)]));
        let both = with_providers(vec![ann(), bob()]);
        assert_eq!(both.verify("ann", b"secret").await, yes("ann"));
        assert_eq!(both.verify("bob", b"geheim").await, yes("bob"));
        assert_eq!(both.verify("bob", b"secret").await, NO);
        let partly = with_providers(vec![broken(), bob()]);
        let later = AuthRefusal::Temporary("b: table file list: not loaded yet".to_string());
        assert_eq!(partly.verify("bob", b"geheim").await, yes("bob"));
        assert_eq!(partly.verify("bob", b"x").await, Err(later.clone()));
        assert_eq!(partly.verify("eve", b"x").await, Err(later));
        let plain = with_providers(vec![provider(&[("ann", "secret")])]);
        let said = "t: account \"ann\": unknown password scheme, expected bcrypt or argon2";
        let refused = Err(AuthRefusal::Temporary(said.to_string()));
        assert_eq!(plain.verify("ann", b"secret").await, refused);
    }

    #[tokio::test]
    async fn a_panicking_table_is_temporary_and_gives_its_turn_back() {
        #[derive(Debug)]
        struct Panicking;
        impl Table for Panicking {
            fn lookup(&self, _: &str) -> Result<Vec<String>, LookupError> {
                panic!("broken on purpose")
            }
        }
        let auth = with_providers(vec![Arc::new(PassTable::new("p".into(), Arc::new(Panicking)))]);
        let turns = auth.turns.available_permits();
        for _ in 0..=turns {
            let refusal = auth.verify("ann", b"x").await.unwrap_err();
            assert!(matches!(refusal, AuthRefusal::Temporary(_)));
        }
        assert_eq!(auth.turns.available_permits(), turns);
    }

    #[tokio::test]
    async fn a_missing_user_takes_as_long_as_a_wrong_password() {
        let auth = with_providers(vec![provider(&[("ann", SLOW_SECRET)])]);
        let mut least = [Duration::MAX; 3];
        for _ in 0..5 {
            for (user, least) in ["ann", "eve", "a b"].iter().zip(&mut least) {
                let start = Instant::now();
                assert_eq!(auth.verify(user, b"wrong").await, NO);
                *least = start.elapsed().min(*least);
            }
        }
        let [wrong, missing, impossible] = least;
        for other in [missing, impossible] {
            assert!(other * 4 > wrong && wrong * 4 > other, "{wrong:?} {other:?}");
        }
    }

    #[test]
    fn a_user_name_is_no_hash() {
        let mapped: [Arc<dyn Table>; 2] =
            [Arc::new(Identity), Arc::new(EmailLocalpart(NotAnAddress::Kept))];
        for table in mapped {
            let provider = PassTable::new("i".to_string(), table);
            for account in [GEHEIM.to_string(), format!("{GEHEIM}@example.org")] {
                assert_eq!(provider.verify(Some(&account), b"geheim"), Ok(false), "{account}");
            }
        }
    }

    #[test]
    fn there_is_a_stand_in_from_the_start() {
        let hash = PasswordHash::parse(FIRST_STAND_IN).unwrap();
        assert_eq!(hash.verify(b"secret"), Ok(false));
    }

    #[tokio::test]
    async fn providers_in_every_form() {
        let chain = format!("table.static words {{\nentry ann {SECRET}\n}}\n");
        for auth in [
            "auth &accounts",
            "auth &other",
            "auth pass_table &words",
            "auth auth.pass_table &words",
            "auth pass_table {\ntable &words\n}",
            "auth pass_table chain {\nstep &words\n}",
            "auth pass_table {\ntable chain {\nstep &words\n}\n}",
        ] {
            let text = format!(
                "{chain}auth.pass_table accounts other {{\ntable &words\n}}\nsubmission tcp://:587 {{\n{auth}\n}}"
            );
            let (made, problems) = authenticator(&text);
            assert_eq!(problems, Vec::<String>::new(), "{auth}");
            assert_eq!(made.verify("ann", b"secret").await, yes("ann"), "{auth}");
        }
    }

    #[tokio::test]
    async fn a_file_of_passwords() {
        let directory = Directory::new("passwords");
        directory.write("users", format!("ann@example.org: {PHC_SECRET}\nbob: bcrypt:{GEHEIM}\n"));
        let text = "submission tcp://:587 {\nauth pass_table file users\n}";
        let ((auth, files), problems) = read_in(directory.path(), text, |reading, blocks| {
            let tables = Tables::default();
            (of_endpoint(reading, blocks, &tables), tables.files())
        });
        assert_eq!(problems, Vec::<String>::new());
        assert!(matches!(auth.verify("bob", b"geheim").await, Err(AuthRefusal::Temporary(_))));
        assert!(files.refresh().is_empty());
        assert_eq!(auth.verify("bob", b"geheim").await, yes("bob"));
        assert_eq!(auth.verify("Ann@example.org", b"secret").await, yes("ann@example.org"));
        assert_eq!(auth.verify("ann@example.org", b"geheim").await, NO);
    }

    #[test]
    fn wrong_providers_are_told_with_their_place() {
        for (auth, said) in [
            ("auth", "c:2: auth: expects a module or &name"),
            ("auth pas_table", "c:2: unknown module pas_table, did you mean pass_table?"),
            ("auth plain_separate", "c:2: unknown module plain_separate"),
            ("auth pass_table", "c:2: pass_table: missing required directive table"),
            ("auth pass_table statik", "c:2: unknown module statik, did you mean static?"),
            (
                "auth pass_table {\ntabel &a\n}",
                "c:2: pass_table: missing required directive table|c:3: pass_table: unknown directive tabel, did you mean table?",
            ),
            ("auth &none", "c:2: &none names no block"),
            ("auth &shared", "c:2: &shared is a limits and not an auth module"),
        ] {
            let text = format!("submission tcp://:587 {{\n{auth}\n}}\nlimits shared {{\n}}");
            let (made, problems) = authenticator(&text);
            assert_eq!(problems.join("|"), said, "{auth}");
            assert!(made.is_empty());
        }
    }

    #[test]
    fn a_named_provider_is_made_once() {
        let text =
            "auth.pass_table a b {\ntable static\n}\nsubmission tcp://:587 {\nauth &a\nauth &b\n}";
        let (made, problems) = authenticator(text);
        assert_eq!(problems, Vec::<String>::new());
        assert!(Arc::ptr_eq(&made.providers[0], &made.providers[1]));
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = posthaste_mail::dice::Dice::new(4);
        let marks = ['a', 'Ä', '@', '.', '"', '\\', ' ', '\0', '[', ']', 'x', 'n', '-', '１'];
        for _ in 0..20_000 {
            let user: String =
                (0..dice.below(12)).map(|_| marks[dice.below(marks.len())]).collect();
            if let Some(account) = account_name(&user) {
                assert!(!account.contains([' ', '\0']), "{user:?}");
            }
        }
    }
}
