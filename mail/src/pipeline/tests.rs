//! Pipelines as a whole: construction, selection, rewriting, nesting.

use std::sync::Arc;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::dice::Dice;
use crate::envelope::Notify;
use crate::table::broken::Broken;
use crate::table::{FileTable, Table, parse_file_table};

type Name = &'static str;

/// Directives without their places: each is placed at `t:N`, N counting the directives of its block from 1.
fn block(verbs: Vec<Verb<Name>>) -> Block<Name> {
    let placed = verbs.into_iter().enumerate();
    placed.map(|(index, verb)| Directive::new(&format!("t:{}", index + 1), verb)).collect()
}

fn texts(rules: &[&str]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn table(text: &str) -> Arc<dyn Table> {
    Arc::new(parse_file_table(text).entries)
}

fn source(rules: &[&str], verbs: Vec<Verb<Name>>) -> Verb<Name> {
    Verb::Source(texts(rules), block(verbs))
}

fn source_in(entries: &str, verbs: Vec<Verb<Name>>) -> Verb<Name> {
    Verb::SourceIn(vec![table(entries)], block(verbs))
}

fn default_source(verbs: Vec<Verb<Name>>) -> Verb<Name> {
    Verb::DefaultSource(block(verbs))
}

fn destination(rules: &[&str], verbs: Vec<Verb<Name>>) -> Verb<Name> {
    Verb::Destination(texts(rules), block(verbs))
}

fn destination_in(entries: &str, verbs: Vec<Verb<Name>>) -> Verb<Name> {
    Verb::DestinationIn(vec![table(entries)], block(verbs))
}

fn default_destination(verbs: Vec<Verb<Name>>) -> Verb<Name> {
    Verb::DefaultDestination(block(verbs))
}

fn to(target: Name) -> Verb<Name> {
    Verb::DeliverTo(vec![Exit::Target(target)])
}

fn to_shared(shared: &SharedPipeline<Name>) -> Verb<Name> {
    Verb::DeliverTo(vec![Exit::Pipeline(shared.clone())])
}

fn reroute(verbs: Vec<Verb<Name>>) -> Verb<Name> {
    Verb::Reroute(block(verbs))
}

fn reject(arguments: &[&str]) -> Verb<Name> {
    Verb::Reject(Reject::parse(arguments).unwrap().0)
}

fn rewrite(entries: &str) -> Verb<Name> {
    Verb::Modify(vec![Modifier::ReplaceRecipient(table(entries))])
}

fn rewrite_sender(entries: &str) -> Verb<Name> {
    Verb::Modify(vec![Modifier::ReplaceSender(table(entries))])
}

fn built(verbs: Vec<Verb<Name>>) -> Built<Name> {
    Pipeline::build("t:0", block(verbs)).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn path(text: &str) -> ReversePath {
    ReversePath::try_from(text.to_string()).unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// `target <recipient>` for each hop, or the refusal with its rule.
fn routed(pipeline: &Arc<Pipeline<Name>>, from: &str, rcpt: &str) -> String {
    let mut transaction = match pipeline.start(&path(from)) {
        Ok(transaction) => transaction,
        Err(refusal) => return shown(&refusal),
    };
    match transaction.route(&mailbox(rcpt)) {
        Ok(hops) => {
            let hops: Vec<_> =
                hops.iter().map(|h| format!("{} {}", h.target, h.recipient)).collect();
            hops.join(", ")
        }
        Err(refusal) => shown(&refusal),
    }
}

fn shown(refusal: &Refusal) -> String {
    let rule = refusal.rule.as_ref().map_or("nowhere", Place::as_str);
    format!("{} {} at {rule}", refusal.code, refusal.enhanced)
}

// 2.1: which directives make a pipeline.

#[test]
fn what_is_a_pipeline() {
    let rest = || default_source(vec![to("rest")]);
    for verbs in [
        vec![to("x")],
        vec![reject(&[])],
        vec![reroute(vec![to("x")])],
        vec![default_source(vec![to("x")])],
        vec![source(&["a.org"], vec![to("x")]), rest()],
        vec![rest(), source(&["a.org"], vec![to("x")])],
        // A table is no rule: bare directives beside it are the default.
        vec![source_in("a@a.org:", vec![to("x")]), to("rest")],
        vec![source_in("a@a.org:", vec![to("x")]), rest()],
        vec![destination_in("a@a.org:", vec![to("x")]), to("rest")],
        vec![destination(&["a.org"], vec![to("x")]), default_destination(vec![to("y")])],
        vec![default_destination(vec![to("y")])],
        vec![rewrite("a: b"), to("x")],
        // An empty default counts as missing, so this is the same as without it.
        vec![default_source(vec![]), to("x")],
        vec![default_source(vec![]), rest()],
        vec![default_destination(vec![]), to("x")],
        vec![to("x"), to("y"), reroute(vec![reject(&[])])],
    ] {
        let shown = format!("{verbs:?}");
        let built = Pipeline::build("t:0", block(verbs));
        assert!(built.is_ok_and(|b| b.warnings.is_empty()), "{shown}");
    }
}

#[test]
fn what_is_no_pipeline() {
    let rest = || default_source(vec![to("rest")]);
    let other = || default_destination(vec![to("other")]);
    for (verbs, expected) in [
        (vec![], vec!["t:0: empty pipeline"]),
        (vec![rewrite("a: b")], vec!["t:0: empty pipeline"]),
        (vec![default_source(vec![])], vec!["t:0: empty pipeline"]),
        (vec![source_in("a:", vec![to("x")])], vec!["t:0: empty pipeline"]),
        (vec![source(&["a.org"], vec![to("x")])], vec!["t:1: source rules without default_source"]),
        (
            vec![source(&["a.org"], vec![to("x")]), default_source(vec![])],
            vec!["t:1: source rules without default_source"],
        ),
        (
            vec![source(&["a.org"], vec![to("x")]), rest(), to("y"), reject(&[])],
            vec!["t:3: deliver_to beside source rules", "t:4: reject beside source rules"],
        ),
        (
            vec![rest(), destination(&["a.org"], vec![to("x")])],
            vec!["t:2: destination beside source rules: move it into default_source"],
        ),
        (vec![rest(), rest()], vec!["t:2: second default_source block"]),
        (vec![other(), other()], vec!["t:2: second default_destination block"]),
        (vec![source(&["a.org"], vec![]), rest()], vec!["t:1: source block without deliver_to"]),
        (vec![source_in("a:", vec![]), rest()], vec!["t:1: source_in block without deliver_to"]),
        (
            vec![source(&["a.org"], vec![rewrite("a: b")]), rest()],
            vec!["t:1: source block without deliver_to"],
        ),
        // A black hole must be spelled out.
        (
            vec![destination(&["a.org"], vec![]), other()],
            vec!["t:1: destination block without deliver_to, reroute or reject"],
        ),
        (
            vec![destination_in("a:", vec![rewrite("a: b")]), other()],
            vec!["t:1: destination_in block without"],
        ),
        (
            vec![destination(&["a.org"], vec![to("x")])],
            vec!["t:1: destination rules without default_destination"],
        ),
        (
            vec![destination(&["a.org"], vec![to("x")]), other(), to("y")],
            vec!["t:3: deliver_to beside destination rules: move it into default_destination"],
        ),
        (vec![source(&[], vec![to("x")]), rest()], vec!["t:1: source needs at least one"]),
        (vec![Verb::SourceIn(vec![], block(vec![to("x")])), rest()], vec!["t:1: source_in needs"]),
        (vec![destination(&[], vec![to("x")]), other()], vec!["t:1: destination needs"]),
        (vec![Verb::DeliverTo(vec![])], vec!["t:1: deliver_to needs at least one argument"]),
        (vec![reject(&[]), to("x")], vec!["t:2: reject and deliver_to in the same block"]),
        (vec![to("x"), reject(&[])], vec!["t:2: reject and deliver_to in the same block"]),
        (
            vec![reject(&[]), reroute(vec![to("x")])],
            vec!["t:2: reject and reroute in the same block"],
        ),
        (
            vec![reroute(vec![to("x")]), reject(&[])],
            vec!["t:2: reject and reroute in the same block"],
        ),
        (vec![reroute(vec![])], vec!["t:1: empty pipeline"]),
        (
            vec![source(&["a.org"], vec![source(&["b.org"], vec![to("x")])]), rest()],
            vec!["t:1: source is not allowed in a source block"],
        ),
        (
            vec![destination(&["a.org"], vec![destination(&["b.org"], vec![to("x")])]), other()],
            vec!["t:1: destination is not allowed in a destination block"],
        ),
        (
            vec![default_destination(vec![default_source(vec![to("x")])])],
            vec!["t:1: default_source is not allowed in a default_destination block"],
        ),
        // All problems at once.
        (
            vec![
                source(&["a..org", "*.b.org", "@c.org"], vec![reject(&[]), to("x")]),
                source(&["d.org"], vec![]),
                to("y"),
            ],
            vec![
                "t:1: rule \"a..org\"",
                "t:1: rule \"*.b.org\"",
                "t:1: rule \"@c.org\"",
                "t:2: reject and deliver_to",
                "t:2: source block without",
                "t:3: deliver_to beside source rules",
                "t:1: source rules without default_source",
            ],
        ),
    ] {
        let shown = format!("{verbs:?}");
        let errors = Pipeline::build("t:0", block(verbs)).expect_err(&shown);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expected.len(), "{shown}: {errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{shown}: {error}");
        }
    }
}

#[test]
fn what_deserves_a_warning() {
    for (verbs, expected) in [
        (
            vec![
                destination(&["a.org", "A.ORG."], vec![to("x")]),
                destination(&["a.org"], vec![to("y")]),
                default_destination(vec![to("z")]),
            ],
            vec![
                "t:1: destination rule \"A.ORG.\" is given a second time, the first one counts",
                "t:2: destination rule \"a.org\" is given a second time, the first one counts",
            ],
        ),
        (
            vec![default_destination(vec![rewrite_sender("a: b"), to("x")])],
            vec!["t:1: replace_sender has no effect in a destination block"],
        ),
        (
            vec![reject(&[]), reject(&["450"])],
            vec!["t:2: second reject in one block is never used"],
        ),
    ] {
        let warnings: Vec<_> = built(verbs).warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, expected);
    }
}

// 2.2: selection.

#[test]
fn tables_then_address_then_domain_then_default() {
    let pipeline = built(vec![
        destination(&["a.org"], vec![to("domain")]),
        destination(&["ann@a.org", "postmaster"], vec![to("address")]),
        destination(&["a.org", "ann@a.org", "late.org"], vec![to("late")]),
        destination_in("ann+t@a.org:\ntwice@b.org: any, value", vec![to("table1")]),
        destination_in("twice@b.org:\nbob@a.org:", vec![to("table2")]),
        destination(&["xn--mnchen-3ya.example", "ö@x.org", "[192.0.2.1]"], vec![to("unicode")]),
        default_destination(vec![to("default")]),
    ])
    .pipeline;
    for (rcpt, expected) in [
        ("ann+t@a.org", "table1"),
        ("twice@b.org", "table1"), // the first table that has the key
        ("bob@a.org", "table2"),   // before the domain
        ("ann@a.org", "address"),
        ("ANN@A.Org", "address"),
        ("ann@a.org.", "address"), // trailing dot
        ("eve@A.ORG", "domain"),
        ("eve@a.org.", "domain"),
        ("eve@late.org", "late"), // the block's other rules were taken
        ("eve@sub.a.org", "default"),
        ("\"ann\"@a.org", "domain"), // quoting counts
        ("Postmaster", "address"),
        ("postmaster@b.org", "default"),
        ("x@münchen.example", "unicode"),
        ("x@MÜNCHEN.example", "unicode"),
        ("x@XN--MNCHEN-3YA.EXAMPLE", "unicode"),
        ("Ö@x.org", "unicode"),
        ("x@[192.0.2.1]", "unicode"),
        ("x@[192.0.2.2]", "default"),
    ] {
        assert_eq!(routed(&pipeline, "s@s.org", rcpt), format!("{expected} {rcpt}"));
    }
}

#[test]
fn sources_are_selected_in_the_same_order() {
    let pipeline = built(vec![
        source(&["a.org"], vec![to("domain")]),
        source(&["ann@a.org"], vec![to("address")]),
        source_in("bob@a.org:", vec![to("table")]),
        default_source(vec![to("default")]),
    ])
    .pipeline;
    for (from, expected) in [
        ("bob@a.org", "table"),
        ("Ann@A.org.", "address"),
        ("eve@a.org", "domain"),
        ("eve@b.org", "default"),
        ("", "default"),
    ] {
        assert_eq!(routed(&pipeline, from, "r@r.org"), format!("{expected} r@r.org"), "{from}");
    }
}

#[test]
fn the_null_sender_reaches_default_or_an_empty_key() {
    let mut empty_key = crate::table::Entries::new();
    empty_key.add("", &[]);
    let verbs = |tables: Vec<Arc<dyn Table>>| {
        vec![
            source(&["postmaster", "a.org"], vec![to("rule")]),
            Verb::SourceIn(tables, block(vec![to("table")])),
            default_source(vec![to("default")]),
        ]
    };
    let without = built(verbs(vec![table("postmaster:\na.org:")])).pipeline;
    assert_eq!(routed(&without, "", "r@r.org"), "default r@r.org");
    let with = built(verbs(vec![table("x:"), Arc::new(empty_key)])).pipeline;
    assert_eq!(routed(&with, "", "r@r.org"), "table r@r.org");
    assert_eq!(routed(&with, "x@a.org", "r@r.org"), "rule r@r.org");
}

#[test]
fn a_table_that_fails_is_not_skipped() {
    let pipeline = built(vec![
        Verb::DestinationIn(vec![table("ann@a.org:"), Arc::new(Broken)], block(vec![to("local")])),
        default_destination(vec![to("remote")]),
    ])
    .pipeline;
    assert_eq!(routed(&pipeline, "", "ann@a.org"), "local ann@a.org"); // found before it is asked
    assert_eq!(routed(&pipeline, "", "bob@a.org"), "451 4.3.0 at t:1");
    let pipeline =
        built(vec![Verb::SourceIn(vec![Arc::new(Broken)], block(vec![to("local")])), to("remote")])
            .pipeline;
    assert_eq!(routed(&pipeline, "", "bob@a.org"), "451 4.3.0 at t:1");
}

// 2.3: order of execution.

#[test]
fn outer_modifiers_come_before_inner_selection() {
    let pipeline = built(vec![
        rewrite_sender("root@a.org: source@b.org"),
        rewrite("ann@a.org: bob@a.org, eve@b.org"),
        source(
            &["b.org"],
            vec![
                rewrite_sender("source@b.org: effective@c.org"),
                rewrite("bob@a.org: bob@c.org"),
                destination(&["c.org"], vec![rewrite("bob: bob1, bob2"), to("c1"), to("c2")]),
                default_destination(vec![to("other")]),
            ],
        ),
        default_source(vec![reject(&[])]),
    ])
    .pipeline;
    let mut transaction = pipeline.start(&path("root@a.org")).unwrap();
    assert_eq!(transaction.sender(), &path("effective@c.org"));
    let hops = transaction.route(&mailbox("Ann@a.org")).unwrap();
    let shown: Vec<_> =
        hops.iter().map(|h| format!("{} {} {}", h.target, h.sender, h.recipient)).collect();
    assert_eq!(
        shown,
        [
            "c1 <effective@c.org> bob1@c.org",
            "c2 <effective@c.org> bob1@c.org",
            "c1 <effective@c.org> bob2@c.org",
            "c2 <effective@c.org> bob2@c.org",
            "other <effective@c.org> eve@b.org",
        ]
    );
    assert!(hops.iter().all(|hop| hop.original == Some(mailbox("Ann@a.org"))));
    let untouched = transaction.route(&mailbox("Zoe@z.org")).unwrap();
    assert_eq!(untouched[0].original, None);
    assert_eq!(untouched[0].recipient.as_str(), "Zoe@z.org");
}

#[test]
fn a_recipient_goes_everywhere_or_nowhere() {
    let pipeline = built(vec![
        rewrite("all@a.org: ann@a.org, bob@b.org, eve@c.org\nsome@a.org: ann@a.org, x@d.org"),
        destination(&["b.org"], vec![reject(&["550", "5.1.1", "no such user"])]),
        destination(&["d.org"], vec![reject(&["450"])]),
        default_destination(vec![to("x")]),
    ])
    .pipeline;
    assert_eq!(routed(&pipeline, "", "all@a.org"), "550 5.1.1 at t:1");
    assert_eq!(routed(&pipeline, "", "some@a.org"), "450 4.7.0 at t:1");
    assert_eq!(routed(&pipeline, "", "ann@a.org"), "x ann@a.org");
    let mut transaction = pipeline.start(&ReversePath::Null).unwrap();
    let refusal = transaction.route(&mailbox("bob@b.org")).unwrap_err();
    assert!(refusal.is_permanent());
    assert_eq!(refusal.to_string(), "550 5.1.1 no such user");
    assert_eq!(refusal.failure().to_string(), "550 5.1.1 no such user");
    // One recipient's refusal leaves the transaction fit for others.
    assert_eq!(transaction.route(&mailbox("ann@a.org")).unwrap().len(), 1);
}

#[test]
fn a_reject_of_a_source_waits_for_recipients() {
    let pipeline =
        built(vec![source(&["a.org"], vec![reject(&[])]), default_source(vec![to("x")])]).pipeline;
    assert!(pipeline.start(&path("ann@a.org")).is_ok());
    assert_eq!(routed(&pipeline, "ann@a.org", "r@r.org"), "554 5.7.0 at t:1");
}

#[test]
fn hops_are_grouped_by_target_and_sender() {
    let renamed = vec![rewrite_sender("s@s.org: other@s.org"), to("a")];
    let pipeline = built(vec![
        rewrite("two@x.org: one@x.org"),
        destination(&["x.org"], vec![to("a"), to("b")]),
        destination(&["y.org"], vec![reroute(vec![to("a")]), reroute(renamed)]),
        default_destination(vec![to("c")]),
    ])
    .pipeline;
    let mut transaction = pipeline.start(&path("s@s.org")).unwrap();
    let mut deliveries = Deliveries::new();
    for rcpt in ["one@x.org", "two@x.org", "three@y.org"] {
        let hops = transaction.route(&mailbox(rcpt)).unwrap();
        deliveries.add(hops, None, Some(Notify::Never));
    }
    let shown: Vec<String> = deliveries
        .iter()
        .map(|d| {
            let recipients: Vec<_> = d
                .recipients
                .iter()
                .map(|r| match &r.original {
                    None => r.address.to_string(),
                    Some(original) => format!("{}({original})", r.address),
                })
                .collect();
            format!("{} {} {}", d.target, d.sender, recipients.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "a <s@s.org> one@x.org one@x.org(two@x.org) three@y.org", // also through reroute
            "b <s@s.org> one@x.org one@x.org(two@x.org)",
            "a <other@s.org> three@y.org", // another sender, another delivery
        ]
    );
    let notify = deliveries.into_vec()[0].recipients[0].notify;
    assert_eq!(notify, Some(Notify::Never));
}

// Nesting.

#[test]
fn nested_pipelines_have_senders_of_their_own() {
    let pipeline = built(vec![
        rewrite("list@a.org: ann@a.org, bob@b.org"),
        reroute(vec![
            rewrite_sender("s@s.org: inner@s.org"),
            source(
                &["inner@s.org"],
                vec![
                    destination(&["ann@a.org"], vec![rewrite("ann: eve"), to("deep")]),
                    default_destination(vec![reroute(vec![to("deeper")])]),
                ],
            ),
            default_source(vec![reject(&[])]),
        ]),
        to("outer"),
    ])
    .pipeline;
    let mut transaction = pipeline.start(&path("s@s.org")).unwrap();
    let hops = transaction.route(&mailbox("list@a.org")).unwrap();
    let shown: Vec<_> =
        hops.iter().map(|h| format!("{} {} {}", h.target, h.sender, h.recipient)).collect();
    assert_eq!(
        shown,
        [
            "deep <inner@s.org> eve@a.org",
            "outer <s@s.org> ann@a.org",
            "deeper <inner@s.org> bob@b.org",
            "outer <s@s.org> bob@b.org",
        ]
    );
    // The original is what the client gave, however deep the rewriting.
    assert!(hops.iter().all(|hop| hop.original == Some(mailbox("list@a.org"))));
    assert_eq!(routed(&pipeline, "other@s.org", "x@x.org"), "554 5.7.0 at t:1");
    assert_eq!(pipeline.targets(), ["deep", "deeper", "outer"]);
}

#[test]
fn shared_pipelines_are_used_by_many() {
    let shared = SharedPipeline::new("local");
    let pipeline = built(vec![
        destination(&["a.org", "b.org"], vec![to_shared(&shared), to("copy")]),
        default_destination(vec![to("remote")]),
    ])
    .pipeline;
    let refused = "451 4.3.0 at t:1"; // named, not bound yet
    assert_eq!(routed(&pipeline, "", "ann@a.org"), refused);
    let inner = built(vec![
        destination(&["ann@a.org"], vec![to("box")]),
        default_destination(vec![reject(&["550"])]),
    ]);
    shared.bind(Arc::clone(&inner.pipeline)).unwrap();
    assert_eq!(
        shared.bind(inner.pipeline).unwrap_err().to_string(),
        "msgpipeline local is defined twice"
    );
    assert_eq!(routed(&pipeline, "", "ann@a.org"), "box ann@a.org, copy ann@a.org");
    assert_eq!(routed(&pipeline, "", "bob@b.org"), "550 5.7.0 at t:1");
    assert_eq!(pipeline.targets(), ["box", "copy", "remote"]);
    assert_eq!(SharedPipeline::refuse_circles(&[shared]), Ok(()));
}

#[test]
fn circles_are_refused_and_end_anyway() {
    let [a, b, c] = ["a", "b", "c"].map(SharedPipeline::new);
    let bind = |shared: &SharedPipeline<Name>, verbs| shared.bind(built(verbs).pipeline).unwrap();
    bind(&a, vec![to("x"), to_shared(&b), to_shared(&b)]);
    bind(&b, vec![reroute(vec![to_shared(&c)]), to_shared(&c)]);
    let all = [a.clone(), b.clone(), c.clone()];
    assert_eq!(SharedPipeline::refuse_circles(&all), Ok(())); // c is unbound: a tree so far
    bind(&c, vec![to_shared(&b), to_shared(&b)]);
    let error = SharedPipeline::refuse_circles(&all).unwrap_err();
    assert_eq!(error.to_string(), "t:1: msgpipeline blocks deliver in a circle: b -> c -> b");
    // Which pipeline of the circle gives up depends on the depth alone.
    assert!(routed(a.pipeline().unwrap(), "", "r@r.org").starts_with("451 4.3.0 at t:"));
    assert_eq!(a.pipeline().unwrap().targets(), ["x"]);

    let own = SharedPipeline::new("own");
    bind(&own, vec![to_shared(&own)]);
    let error = SharedPipeline::refuse_circles(&[own]).unwrap_err();
    assert_eq!(error.fault, Fault::Cycle(vec!["own".into(), "own".into()]));
}

#[test]
fn a_fan_of_pipelines_is_bounded() {
    let mut exit = to("x");
    for name in 0..40 {
        let shared = SharedPipeline::new(&name.to_string());
        shared.bind(built(vec![exit]).pipeline).unwrap();
        exit = Verb::DeliverTo(vec![Exit::Pipeline(shared.clone()), Exit::Pipeline(shared)]);
    }
    let pipeline = built(vec![exit]).pipeline;
    assert_eq!(routed(&pipeline, "", "r@r.org"), "451 4.3.0 at t:0"); // not 2^40 hops
}

#[test]
fn deep_nesting_is_walked() {
    let nested = |depth| (0..depth).fold(to("x"), |verb, _| reroute(vec![verb]));
    let shared = SharedPipeline::new("deep");
    shared.bind(built(vec![nested(32)]).pipeline).unwrap();
    let errors = Pipeline::build("t:0", block(vec![nested(33)])).unwrap_err();
    assert_eq!(errors[0].to_string(), "t:1: more than 32 reroute blocks inside each other");

    // Through names it can go deeper than any block.
    let mut exit = to("x");
    for name in 0..100 {
        let shared = SharedPipeline::new(&name.to_string());
        shared.bind(built(vec![exit]).pipeline).unwrap();
        exit = to_shared(&shared);
    }
    let deep = built(vec![exit]).pipeline;
    assert_eq!(routed(&deep, "", "r@r.org"), "x r@r.org");
    assert_eq!(deep.targets(), ["x"]);
    let last = SharedPipeline::new("last");
    last.bind(deep).unwrap();
    assert_eq!(routed(&built(vec![to_shared(&last)]).pipeline, "", "r@r.org"), "451 4.3.0 at t:0");
}

#[test]
fn a_message_keeps_its_nested_sender() {
    let file = Arc::new(FileTable::new("senders"));
    file.replace(parse_file_table("s@s.org: one@s.org").entries);
    let modify = Verb::Modify(vec![Modifier::ReplaceSender(Arc::clone(&file) as Arc<dyn Table>)]);
    let pipeline = built(vec![reroute(vec![modify, to("x")])]).pipeline;
    let mut transaction = pipeline.start(&path("s@s.org")).unwrap();
    let mut sender = || transaction.route(&mailbox("r@r.org")).map(|hops| hops[0].sender.clone());
    file.fail("permission denied");
    assert_eq!(shown(&sender().unwrap_err()), "451 4.3.0 at t:1"); // not entered, so asked again
    file.replace(parse_file_table("s@s.org: two@s.org").entries);
    assert_eq!(sender(), Ok(path("two@s.org")));
    file.replace(parse_file_table("s@s.org: three@s.org").entries);
    assert_eq!(sender(), Ok(path("two@s.org"))); // one sender a message
}

#[test]
fn addresses_that_cannot_be_read() {
    let error = Mailbox::parse("ann").unwrap_err();
    assert_eq!(Refusal::bad_sender(error).to_string(), "501 5.1.7 sender: address has no domain");
    assert_eq!(
        Refusal::bad_recipient(error).to_string(),
        "553 5.1.2 recipient: address has no domain"
    );
}

#[test]
fn any_pipeline_takes_any_address() {
    let mut dice = Dice::new(17);
    let words = ["a.org", "ann@a.org", "ann", "postmaster", "b.org", "*", "", "ä@ö.org", "x@[::]"];
    fn some(dice: &mut Dice, words: &[&str], depth: usize) -> Block<Name> {
        let verbs = (0..dice.below(4)).map(|_| {
            let kind = if depth == 0 { dice.below(3) } else { dice.below(10) };
            let rules = vec![words[dice.below(words.len())].to_string()];
            let entries = format!("{}: {}", rules[0], words[dice.below(words.len())]);
            let inner = if kind < 4 { Vec::new() } else { some(dice, words, depth - 1) };
            match kind {
                0 => to("x"),
                1 => reject(&[]),
                2 => rewrite(&entries),
                3 => rewrite_sender(&entries),
                4 => Verb::Source(rules, inner),
                5 => Verb::SourceIn(vec![table(&entries)], inner),
                6 => Verb::Destination(rules, inner),
                7 => Verb::DefaultDestination(inner),
                8 => Verb::DefaultSource(inner),
                _ => Verb::Reroute(inner),
            }
        });
        block(verbs.collect())
    }
    let (mut good, mut hops) = (0, 0);
    for _ in 0..5_000 {
        match Pipeline::build("t:0", some(&mut dice, &words, 3)) {
            Err(errors) => assert!(!errors.is_empty()),
            Ok(built) => {
                good += 1;
                for text in ["ann@a.org", "POSTMASTER", "ä@ö.org", "q@b.org"] {
                    let start = built.pipeline.start(&path(text));
                    let found = start.and_then(|mut t| t.route(&mailbox(text)));
                    hops += usize::from(found.is_ok_and(|hops| !hops.is_empty()));
                }
            }
        }
    }
    assert!(good > 100 && hops > 100, "{good} {hops}");
}
