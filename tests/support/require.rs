//! What tests need beyond a Vulkan device. A test without it prints that it is skipped, and passes;
//! `ASNG_WGPU_REQUIRE`, a list of words joined by commas, makes it fail instead.
#![allow(dead_code, reason = "every test binary uses a part of it")]

/// The words of `ASNG_WGPU_REQUIRE`, and how to get what each of them means.
pub const NEEDS: [(&str, &str); 10] = [
    ("bash", "install bash"),
    ("chromium", "install Chromium or Google Chrome"),
    ("fish", "install fish"),
    ("golden", "remove from the folder of ASNG_WGPU_GOLDEN what the engine does not know"),
    ("mounts", "test as a user who may mount file systems in a namespace ('unshare -rm')"),
    ("permissions", "install setpriv, or test as a user other than root"),
    ("prlimit", "install util-linux"),
    ("python", "install Python 3"),
    ("real", "set ASNG_WGPU_DATA to the folder of the data sets"),
    ("zsh", "install zsh"),
];

/// The variable that lists what is required.
const VARIABLE: &str = "ASNG_WGPU_REQUIRE";

/// What was found; or nothing, after a line that says so.
///
/// # Panics
/// If `word` is required and was not found, and for an unknown word in the list.
pub fn need<T>(word: &str, found: Option<T>) -> Option<T> {
    if let Err(why) = check(&list(), word, found.is_some()) {
        panic!("{why}");
    }
    if found.is_none() {
        println!("skipped: '{word}' is missing; {}", remedy(word).expect("a word of the list"));
    }
    found
}

/// Whether a word is in the list.
pub fn is_required(word: &str) -> bool {
    let list = list();
    words(&list).unwrap_or_else(|why| panic!("{why}")).contains(&word)
}

/// The value of the variable.
pub fn list() -> String {
    std::env::var_os(VARIABLE).map(|v| v.to_string_lossy().into_owned()).unwrap_or_default()
}

fn remedy(word: &str) -> Option<&'static str> {
    NEEDS.iter().find(|(name, _)| *name == word).map(|(_, remedy)| *remedy)
}

/// The words of a list.
///
/// # Errors
/// For a word that nothing is known by.
pub fn words(list: &str) -> Result<Vec<&str>, String> {
    let words: Vec<&str> = list.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
    let known = NEEDS.map(|(name, _)| name).join(", ");
    match words.iter().find(|word| remedy(word).is_none()) {
        Some(word) => Err(format!("{VARIABLE} lists '{word}'; it knows {known}")),
        None => Ok(words),
    }
}

/// Refuses to do without what a list requires.
///
/// # Errors
/// If the list requires the word and it was not found, and for unknown words.
pub fn check(list: &str, word: &str, found: bool) -> Result<(), String> {
    let remedy = remedy(word).ok_or(format!("'{word}' is not a word of {VARIABLE}"))?;
    match words(list)?.contains(&word) && !found {
        true => Err(format!("{VARIABLE} lists '{word}', which is missing; {remedy}")),
        false => Ok(()),
    }
}
