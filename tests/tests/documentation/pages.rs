//! The repository's Markdown pages, taken apart: blocks of code, and prose with its links, headings, `code`.

use std::path::{Path, PathBuf};

/// A page, named by its path in the repository.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) blocks: Vec<Block>,
    /// Everything else, line by line; blocks are empty lines.
    pub(crate) prose: String,
}

/// A fenced block of code.
pub(crate) struct Block {
    /// Where it is, as `README.md:12`.
    pub(crate) place: String,
    /// The word behind the fence.
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// Where the repository is.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

/// Every page, in the order of their paths.
pub(crate) fn pages() -> Vec<Page> {
    let paths = files(repository(), &|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(paths.len() >= 11, "{paths:?}");
    paths.iter().map(|path| Page::read(path)).collect()
}

/// The blocks of this kind on all pages.
pub(crate) fn blocks(kinds: &[&str]) -> Vec<Block> {
    let blocks = pages().into_iter().flat_map(|page| page.blocks);
    blocks.filter(|block| kinds.contains(&&*block.kind)).collect()
}

/// The files below a folder that somebody wrote.
pub(crate) fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let made = name.starts_with('.') || name == "node_modules" || is_a_build(&path);
        match path.is_dir() {
            true if !made => found.extend(files(&path, wanted)),
            false if wanted(&path) => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// cargo marks the folders that it fills.
fn is_a_build(path: &Path) -> bool {
    path.join("CACHEDIR.TAG").exists()
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a page can be read");
        let path = path.strip_prefix(repository()).expect("a path of the repository").to_owned();
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut open: Option<(usize, Block)> = None;
        for (number, line) in text.lines().enumerate() {
            let trimmed = line.trim_start();
            match (&mut open, trimmed.strip_prefix("```")) {
                (None, Some(kind)) => {
                    let place = format!("{}:{}", path.display(), number + 1);
                    let block = Block { place, kind: kind.trim().to_owned(), text: String::new() };
                    open = Some((line.len() - trimmed.len(), block));
                }
                (Some(_), Some("")) => blocks.extend(open.take().map(|(_, block)| block)),
                (Some((indent, block)), _) => {
                    let cut = (*indent).min(line.len() - trimmed.len());
                    block.text.push_str(&line[cut..]);
                    block.text.push('\n');
                }
                (None, None) => prose.push_str(line),
            }
            prose.push('\n');
        }
        assert!(open.is_none(), "{}: a block of code has no end", path.display());
        Page { path, blocks, prose }
    }

    /// What stands between back quotes, each with the number of its line.
    pub(crate) fn code(&self) -> Vec<(usize, String)> {
        let (mut found, mut line) = (Vec::new(), 1);
        for paragraph in self.prose.split("\n\n") {
            let pieces: Vec<&str> = paragraph.split('`').collect();
            assert!(pieces.len() % 2 == 1, "{}:{line}: an odd back quote", self.path.display());
            for (at, piece) in pieces.into_iter().enumerate() {
                if at % 2 == 1 {
                    found.push((line, piece.replace('\n', " ")));
                }
                line += piece.matches('\n').count();
            }
            line += 2;
        }
        found
    }

    /// The prose without its code.
    pub(crate) fn words(&self) -> String {
        self.prose.split('`').step_by(2).collect::<Vec<_>>().join("·")
    }

    /// The targets of links and pictures.
    pub(crate) fn links(&self) -> Vec<String> {
        let words = self.words();
        let targets = words.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).collect()
    }

    /// The names under which its headings can be linked to, as GitHub makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose.lines().filter_map(|line| {
            let heading = line.trim_start_matches('#');
            (heading.len() < line.len()).then_some(heading)?.strip_prefix(' ')
        });
        let anchor = |heading: &str| {
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(anchor).collect()
    }

    /// The rows of the table below a heading, each with its cells; rows that only say a topic are left out.
    pub(crate) fn table(&self, heading: &str) -> Vec<Vec<String>> {
        let after = self.prose.split_once(&format!("\n{heading}\n")).map(|(_, after)| after);
        let after = after.unwrap_or_else(|| panic!("{} has no {heading:?}", self.path.display()));
        let lines = after.lines().skip_while(|line| !line.starts_with('|'));
        let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
        let cells = |row: &str| -> Vec<String> {
            let row = row.trim().trim_start_matches('|').trim_end_matches('|');
            row.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        rows.map(cells).filter(|row| !row[0].starts_with("**")).collect()
    }
}

/// A page by its path.
pub(crate) fn page(path: &str) -> Page {
    Page::read(&repository().join(path))
}

/// The words between back quotes in a cell.
pub(crate) fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}
