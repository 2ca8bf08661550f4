//! The reference as the public listener shows it: without what the admin listener serves, and without what nothing names
//! then. It is cut out of the document's text, which so keeps its order; in that each thing begins on a line of its own,
//! with all that belongs to it below and further to the right.

/// What stands in a path that the admin listener serves alone: its first one names the listener, the others go by that.
const OF_ADMIN: [&str; 2] = ["\n    servers: &admin\n", "\n    servers: *admin\n"];

/// The part of the document that is about the public listener.
pub(super) fn public_part(document: &str) -> String {
    let is_public = |path: &str| !OF_ADMIN.iter().any(|mark| path.contains(mark));
    let mut part = section(document, "paths:", |paths| kept(paths, 2, is_public));
    loop {
        let smaller = without_unnamed(&part);
        if smaller.len() == part.len() {
            return part;
        }
        part = smaller;
    }
}

/// The document without tags that no call has, and without parts and schemes that nothing refers to.
fn without_unnamed(document: &str) -> String {
    let has = |words: &str| document.contains(words);
    let named = section(document, "tags:", |tags| kept(tags, 2, |tag| has(&format!("tags: [{}]", tag_name(tag)))));
    section(&named, "components:", |components| {
        let kinds = blocks(components, 2).into_iter().map(|kind| {
            let place = name(&kind).to_owned();
            let is_named = |part: &str| match place.as_str() {
                "securitySchemes" => has(&format!("{}: []", name(part))),
                _ => has(&format!("'#/components/{place}/{}'", name(part))),
            };
            kept(&kind, 4, is_named)
        });
        kinds.collect()
    })
}

/// The document with one of its sections as `cut` leaves it.
fn section(document: &str, title: &str, cut: impl Fn(&str) -> String) -> String {
    let sections = blocks(document, 0).into_iter();
    sections.map(|section| if section.starts_with(title) { cut(&section) } else { section }).collect()
}

/// A text's first line, and of the things below it those that are to be kept.
fn kept(text: &str, indent: usize, is_kept: impl Fn(&str) -> bool) -> String {
    let mut blocks = blocks(text, indent).into_iter();
    let title = blocks.next();
    title.into_iter().chain(blocks.filter(|block| is_kept(block))).collect()
}

/// Cuts a text before each line that is indented so far.
fn blocks(text: &str, indent: usize) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        let begins = line.find(|c: char| c != ' ') == Some(indent) && !line.trim().is_empty();
        match blocks.last_mut() {
            Some(block) if !begins => block.push_str(line),
            Some(_) | None => blocks.push(line.to_owned()),
        }
    }
    blocks
}

/// What a block is called: what stands before the first colon.
fn name(block: &str) -> &str {
    block.split(':').next().unwrap_or_default().trim()
}

/// A tag is an entry of a list: `- name: Links`.
fn tag_name(block: &str) -> &str {
    block.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_name, tag)| tag.trim())
}
