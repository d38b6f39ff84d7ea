//! The list of what tests must not skip.

#[path = "support/require.rs"]
mod require;

use require::{NEEDS, check, list, words};

#[test]
fn the_list_of_this_run_has_no_unknown_word() {
    if let Err(why) = words(&list()) {
        panic!("{why}");
    }
}

#[test]
fn what_is_required_and_missing_fails() {
    assert_eq!(check("", "chromium", false), Ok(()));
    assert_eq!(check("zsh", "chromium", false), Ok(()));
    assert_eq!(check("chromium,zsh", "zsh", true), Ok(()));
    let why = check("zsh, chromium", "chromium", false).unwrap_err();
    assert!(why.contains("'chromium', which is missing; install Chromium"), "{why}");
}

#[test]
fn unknown_words_fail_whatever_was_found() {
    for (list, word, found) in
        [("chrome", "zsh", true), ("zsh,reel", "zsh", true), ("zsh", "shell", true)]
    {
        assert!(check(list, word, found).is_err_and(|why| why.contains('\'')), "{list} {word}");
    }
    assert!(words("real,reel").unwrap_err().contains("'reel'; it knows bash, chromium"));
    assert_eq!(words(" real ,, golden,"), Ok(vec!["real", "golden"]));
}

#[test]
fn ci_requires_every_word_that_a_machine_can_have() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/require");
    let script = std::fs::read_to_string(script).unwrap();
    let tools = script.lines().filter_map(|line| line.strip_prefix("  \"")?.split(' ').next());
    let others = script.split("words+=(").skip(1).filter_map(|rest| rest.split(')').next());
    let mut listed: Vec<&str> = tools.chain(others.filter(|w| !w.starts_with('"'))).collect();
    listed.sort_unstable();
    // The project's own reference files are all known; a test says so whatever is required.
    let wanted: Vec<&str> =
        NEEDS.iter().map(|(word, _)| *word).filter(|word| *word != "golden").collect();
    assert_eq!(listed, wanted);
}
