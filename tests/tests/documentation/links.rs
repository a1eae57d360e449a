//! Links and pictures lead to files and headings that are there, and every page can be found from the README.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::pages::{pages, repository};

/// `a/b/../c` without the detour.
fn straight(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(straight.pop(), "{} leaves the repository", path.display()),
            part => straight.push(part),
        }
    }
    straight
}

#[test]
fn every_link_leads_somewhere_and_every_page_can_be_found() {
    let pages = pages();
    let anchors: BTreeMap<_, _> = pages.iter().map(|page| (page.path.clone(), page.anchors())).collect();
    let mut leads_to: BTreeMap<&Path, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for page in &pages {
        for link in page.links() {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = page.path.parent().expect("a file lies in a folder");
            let target = if file.is_empty() { page.path.clone() } else { straight(&folder.join(file)) };
            let is_there = repository().join(&target).exists();
            let has_it = anchor.is_empty()
                || anchors.get(&target).is_some_and(|anchors| anchors.iter().any(|known| known == anchor));
            if !is_there || !has_it {
                wrong.push(format!("{}: {link}", page.path.display()));
            }
            leads_to.entry(&page.path).or_default().insert(target);
        }
    }
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));

    let mut found = BTreeSet::from([PathBuf::from("README.md")]);
    let mut open: Vec<PathBuf> = found.iter().cloned().collect();
    while let Some(page) = open.pop() {
        for target in leads_to.get(&*page).into_iter().flatten() {
            if found.insert(target.clone()) {
                open.push(target.clone());
            }
        }
    }
    let lost: Vec<_> =
        pages.iter().filter(|page| !found.contains(&page.path)).map(|page| &page.path).collect();
    assert!(lost.is_empty(), "no link leads there from README.md: {lost:?}");
}
