//! `posthaste sts` where there is no cache to look at.

use crate::harness::outbound::Outbound;

#[test]
fn without_a_cache_the_sts_verbs_are_refused() {
    let outbound = Outbound::start_with("sts_verbs_without_cache", &[], |_| ());
    for words in [
        &["sts", "list"][..],
        &["sts", "show", "example.org"],
        &["sts", "refresh", "example.org"],
        &["sts", "forget", "example.org"],
    ] {
        let output = outbound.daemon.cli(words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {told}");
        assert_eq!(told, "posthaste: no mtasts cache is configured\n", "{words:?}");
    }
}
