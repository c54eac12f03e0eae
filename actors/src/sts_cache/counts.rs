//! What a cache of policies counts, from the start of its actor.

/// The first four are answers; the others, what was fetched for them or unasked. To be watched: `own_faults` and `store_faults` are to
/// be 0; `stale` that grows means that a domain's servers fail, or are kept from us; `put_off` that grows, that a host of many policies
/// says nothing.
#[derive(Default)]
pub(super) struct Counts {
    /// The newest policy, fetched for it or not.
    pub hits: u64,
    pub absent: u64,
    pub stale: u64,
    pub unavailable: u64,
    pub fetched: u64,
    pub fetch_errors: u64,
    /// Given up after a second, because others had heard nothing at the policy host.
    pub put_off: u64,
    pub invalid: u64,
    pub webpki_invalid: u64,
    pub own_faults: u64,
    pub store_faults: u64,
}

impl Counts {
    /// By name, in the order of showing.
    pub fn shown(&self) -> [(&'static str, u64); 11] {
        [
            ("hits", self.hits),
            ("absent", self.absent),
            ("stale", self.stale),
            ("unavailable", self.unavailable),
            ("fetched", self.fetched),
            ("fetch_errors", self.fetch_errors),
            ("put_off", self.put_off),
            ("invalid", self.invalid),
            ("webpki_invalid", self.webpki_invalid),
            ("own_faults", self.own_faults),
            ("store_faults", self.store_faults),
        ]
    }
}
