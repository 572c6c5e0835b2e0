//! The public API of the facade: each item has one path; structs and enums can grow unless their documentation says why not; no public field shows a type of ractor.

use std::collections::BTreeMap;
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, Item, Visibility};

use crate::source::{self, Files, leaves};
use crate::tables::TABLES;

/// The folder of the crate in which an item is declared, and the item's name.
type Declared = (String, String);

/// What breaks these rules.
fn violations(files: &Files) -> Vec<String> {
    let mut paths = BTreeMap::new();
    publish(files, parsed(&files["src/lib.rs"]), "retraced", &mut paths);
    let second = paths.values().filter(|paths: &&Vec<String>| paths.len() > 1);
    let mut violations: Vec<String> = second.map(|paths| format!("one item has several paths: {paths:?}")).collect();
    for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".rs")) {
        let items = parsed(text);
        let of_ractor = imported_from_ractor(&items);
        let folder = file.split('/').next().unwrap_or_default().to_owned();
        for item in &items {
            if let Some(path) = name_of(item).and_then(|name| paths.get(&(folder.clone(), name))) {
                violations.extend(closed(item).then(|| {
                    format!("{} ({file}) cannot grow: make it #[non_exhaustive], or say in its documentation why it is \"exhaustive\"", path[0])
                }));
                let shown: Vec<String> =
                    words_of_public_fields(item).into_iter().filter(|word| of_ractor.contains(word)).collect();
                violations
                    .extend((!shown.is_empty()).then(|| format!("{} ({file}) shows {shown:?} of ractor", path[0])));
            }
        }
    }
    violations
}

/// Adds the public structs and enums of a module, and what it re-exports.
fn publish(files: &Files, items: Vec<Item>, path: &str, paths: &mut BTreeMap<Declared, Vec<String>>) {
    let mut add = |folder: &str, declared: &str, name: &str| {
        paths.entry((folder.to_owned(), declared.to_owned())).or_default().push(format!("{path}::{name}"));
    };
    let mut modules = Vec::new();
    for item in items {
        match item {
            Item::Use(import) if is_public(&import.vis) => {
                for leaf in leaves(&import).iter().filter(|leaf| leaf.path[0] != "ractor") {
                    let folder = leaf.path[0].strip_prefix("retraced_").unwrap_or("src");
                    add(folder, leaf.path.last().unwrap_or(&leaf.name), &leaf.name);
                }
            }
            Item::Mod(inner) if is_public(&inner.vis) => modules.push(inner),
            item => {
                if let Some(name) = name_of(&item) {
                    add("src", &name, &name);
                }
            }
        }
    }
    for module in modules {
        let name = module.ident.to_string();
        let items = module.content.map(|(_, items)| items).unwrap_or_else(|| {
            let file = [format!("src/{name}.rs"), format!("src/{name}/mod.rs")];
            file.iter().find_map(|file| files.get(file)).map_or(Vec::new(), |text| parsed(text))
        });
        publish(files, items, &format!("{path}::{name}"), paths);
    }
}

fn parsed(text: &str) -> Vec<Item> {
    syn::parse_file(text).expect("the sources are Rust").items
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The name of a public struct or enum.
fn name_of(item: &Item) -> Option<String> {
    match item {
        Item::Struct(item) if is_public(&item.vis) => Some(item.ident.to_string()),
        Item::Enum(item) if is_public(&item.vis) => Some(item.ident.to_string()),
        _ => None,
    }
}

/// Whether an addition to this struct or enum would break users, and its documentation does not say that this is intended.
fn closed(item: &Item) -> bool {
    let (attributes, closed) = match item {
        Item::Struct(item) => {
            (&item.attrs, item.fields.iter().all(|field| is_public(&field.vis)) && !item.fields.is_empty())
        }
        Item::Enum(item) => (&item.attrs, true),
        _ => return false,
    };
    let says_why = attributes.iter().any(|attribute| documentation(attribute).to_lowercase().contains("exhaustive"));
    closed && !says_why && !attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"))
}

fn documentation(attribute: &Attribute) -> String {
    match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue { path, value: syn::Expr::Lit(text), .. }) if path.is_ident("doc") => {
            match &text.lit {
                syn::Lit::Str(text) => text.value(),
                _ => String::new(),
            }
        }
        _ => String::new(),
    }
}

/// Every word in the types of the fields that users can name; those of an enum's variants are public.
fn words_of_public_fields(item: &Item) -> Vec<String> {
    struct Words(Vec<String>);
    impl<'ast> Visit<'ast> for Words {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0.push(segment.ident.to_string());
            syn::visit::visit_path_segment(self, segment);
        }
    }
    let mut words = Words(Vec::new());
    match item {
        Item::Struct(item) => {
            item.fields.iter().filter(|field| is_public(&field.vis)).for_each(|field| words.visit_type(&field.ty))
        }
        Item::Enum(item) => {
            item.variants.iter().flat_map(|variant| &variant.fields).for_each(|field| words.visit_type(&field.ty))
        }
        _ => {}
    }
    words.0
}

fn imported_from_ractor(items: &[Item]) -> Vec<String> {
    let imports =
        items.iter().filter_map(|item| if let Item::Use(import) = item { Some(leaves(import)) } else { None });
    let of_ractor = imports.flatten().filter(|leaf| leaf.path[0] == "ractor").map(|leaf| leaf.name);
    of_ractor.chain(["ractor".to_owned()]).collect()
}

#[test]
fn the_facade_can_grow() {
    let files = source::read(Path::new(env!("CARGO_MANIFEST_DIR")), TABLES.layers);
    let found = violations(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lib: &str, low: &str) -> usize {
        violations(&Files::from([("src/lib.rs".into(), lib.into()), ("low/job.rs".into(), low.into())])).len()
    }

    #[test]
    fn a_type_of_public_fields_and_an_enum_must_be_able_to_grow() {
        let lib = "pub use retraced_low::Job;";
        for closed in ["pub struct Job { pub id: u8 }", "pub struct Job(pub u8);", "pub enum Job { One }"] {
            assert_eq!(found(lib, closed), 1, "{closed}");
            assert_eq!(found("pub use retraced_low::Other;", closed), 0, "{closed}");
            assert_eq!(found(lib, &format!("#[non_exhaustive] {closed}")), 0, "{closed}");
            assert_eq!(found(lib, &format!("/// Exhaustive, because it is small.\n{closed}")), 0, "{closed}");
        }
        for open in ["pub struct Job { pub id: u8, kind: u8 }", "pub struct Job(u8);", "pub struct Job;"] {
            assert_eq!(found(lib, open), 0, "{open}");
        }
    }

    #[test]
    fn an_item_has_one_path() {
        assert_eq!(found("pub use retraced_low::Job;\npub mod job { pub use retraced_low::job::Job; }", ""), 1);
        assert_eq!(found("pub use retraced_low::Job;\nmod job { pub use retraced_low::job::Job; }", ""), 0);
    }

    #[test]
    fn no_field_shows_a_type_of_ractor() {
        let lib = "pub use retraced_low::Job;";
        let field = |vis: &str| {
            format!("use ractor::ActorCell;\n#[non_exhaustive] pub struct Job {{ {vis} cell: Option<ActorCell> }}")
        };
        assert_eq!([found(lib, &field("pub")), found(lib, &field(""))], [1, 0]);
        assert_eq!(found(lib, "#[non_exhaustive] pub enum Job { One(ractor::ActorCell) }"), 1);
    }
}
