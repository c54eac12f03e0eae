//! A measurement's settings, from the environment, as `make bench BENCH_PAIRS=1` passes them.

/// The number in the variable, or the default; anything else ends the measurement before it begins.
pub fn number(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Err(_) => default,
        Ok(text) => match text.trim().replace('_', "").parse() {
            Ok(number) if number > 0 => number,
            Ok(_) | Err(_) => panic!("{variable}={text}: not a number of 1 or more"),
        },
    }
}
