//! The sources as data: modules, the names that they declare, and every path that their code mentions. Test code is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Meta, UseTree, Visibility};
use walkdir::WalkDir;

use crate::tables::Layer;

/// The files of the workspace by their path from its root: `.rs`, `.lua` and the manifest.
pub type Files = BTreeMap<String, String>;

/// Reads every Rust and Lua file in the folders of the layers, without tests, benches and examples, and the manifest of the workspace.
pub fn read(root: &Path, layers: &[Layer]) -> Files {
    let mut files = Files::new();
    let manifest = root.join("Cargo.toml");
    files.insert("Cargo.toml".into(), std::fs::read_to_string(&manifest).expect("the workspace has a manifest"));
    for layer in layers {
        let folder = WalkDir::new(root.join(layer.folder)).into_iter();
        let of_the_crate = folder.filter_entry(|entry| {
            !matches!(entry.file_name().to_str(), Some("target" | "tests" | "benches" | "examples" | "node_modules"))
        });
        for entry in of_the_crate.filter_map(Result::ok) {
            let path = entry.path();
            if matches!(path.extension().and_then(|e| e.to_str()), Some("rs" | "lua")) {
                let name = path.strip_prefix(root).expect("the file was found below the root").display().to_string();
                files.insert(name, std::fs::read_to_string(path).expect("sources are text"));
            }
        }
    }
    files
}

/// What a module declares under a name.
#[derive(Debug, Clone)]
pub enum Name {
    /// An item that the module declares itself.
    Item { public: bool },
    /// A module inside it, by its number.
    Module { number: usize, public: bool },
    /// An imported name.
    Use { target: Vec<String>, public: bool },
}

/// A path in the code.
#[derive(Debug, Clone)]
pub struct Mention {
    pub path: Vec<String>,
    pub line: usize,
    pub kind: MentionKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MentionKind {
    /// In code: a type, a call, a pattern.
    Code,
    Import,
    /// `pub use`, `pub(crate) use` …
    Reexport,
}

#[derive(Debug, Default)]
pub struct Module {
    pub file: String,
    pub parent: Option<usize>,
    pub names: BTreeMap<String, Name>,
    pub globs: Vec<(Vec<String>, bool)>,
    pub mentions: Vec<Mention>,
}

/// A function outside test code.
#[derive(Debug)]
pub struct Function {
    pub file: String,
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// A `const` or `static` outside test code.
#[derive(Debug)]
pub struct Constant {
    pub file: String,
    pub name: String,
    pub line: usize,
    pub kind: String,
    /// Whether the value is only the name of another constant.
    pub alias: bool,
}

/// A call of interest: a path or a method call, which begins with a dot.
#[derive(Debug)]
pub struct Call {
    pub file: String,
    pub line: usize,
    pub call: String,
}

/// The lines and methods of one `impl` block or type declaration.
#[derive(Debug)]
pub struct TypePart {
    pub file: String,
    pub name: String,
    pub methods: usize,
    pub lines: usize,
}

#[derive(Debug, Default)]
pub struct Sources {
    pub modules: Vec<Module>,
    /// The root module of each layer's library; of its binary if it has no library.
    pub roots: BTreeMap<usize, usize>,
    pub functions: Vec<Function>,
    pub constants: Vec<Constant>,
    /// What starts background work.
    pub spawns: Vec<Call>,
    /// What reads a clock or draws an id at random.
    pub readings: Vec<Call>,
    pub types: Vec<TypePart>,
    /// Lines of each file, without those of its test modules.
    pub lines: BTreeMap<String, usize>,
    /// Files reached from the roots, test modules included.
    pub reached: BTreeSet<String>,
}

impl Sources {
    pub fn parse(files: &Files, layers: &[Layer]) -> Sources {
        let mut sources = Sources::default();
        for (layer, row) in layers.iter().enumerate() {
            for root in row.roots {
                if files.contains_key(*root) {
                    let module = sources.file(files, root, None);
                    sources.roots.entry(layer).or_insert(module);
                }
            }
        }
        sources
    }

    fn file(&mut self, files: &Files, file: &str, parent: Option<usize>) -> usize {
        let text = &files[file];
        let parsed = syn::parse_file(text).unwrap_or_else(|e| panic!("{file}:{}: {e}", e.span().start().line));
        self.reached.insert(file.into());
        self.lines.insert(file.into(), text.lines().count());
        self.module(files, file, parent, &parsed.items)
    }

    fn module(&mut self, files: &Files, file: &str, parent: Option<usize>, items: &[Item]) -> usize {
        let number = self.modules.len();
        self.modules.push(Module { file: file.into(), parent, ..Module::default() });
        for item in items {
            if is_test(attributes(item)) {
                self.leave_out(files, file, item);
                continue;
            }
            match item {
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let child = match &inner.content {
                        Some((_, items)) => self.module(files, file, Some(number), items),
                        None => match file_of_module(files, file, &name) {
                            Some(child) => self.file(files, &child, Some(number)),
                            None => panic!("{file}:{}: no file for module {name}", inner.span().start().line),
                        },
                    };
                    let public = matches!(inner.vis, Visibility::Public(_));
                    self.modules[number].names.insert(name, Name::Module { number: child, public });
                }
                Item::Use(import) => self.import(number, import),
                other => {
                    if let Some((name, public)) = declared(other) {
                        self.modules[number].names.insert(name, Name::Item { public });
                    }
                    let mut reader = Reader { file, ..Reader::default() };
                    reader.visit_item(other);
                    self.take(number, reader);
                }
            }
        }
        number
    }

    fn leave_out(&mut self, files: &Files, file: &str, item: &Item) {
        if let Item::Mod(inner) = item
            && inner.content.is_none()
        {
            self.reached.extend(file_of_module(files, file, &inner.ident.to_string()));
        }
        let lines = item.span().end().line + 1 - item.span().start().line;
        if let Some(of_the_file) = self.lines.get_mut(file) {
            *of_the_file -= lines.min(*of_the_file);
        }
    }

    fn import(&mut self, number: usize, import: &ItemUse) {
        let kind = match import.vis {
            Visibility::Inherited => MentionKind::Import,
            _ => MentionKind::Reexport,
        };
        let public = matches!(import.vis, Visibility::Public(_));
        let module = &mut self.modules[number];
        for leaf in leaves(import) {
            if is_spawn(leaf.path.last().map_or("", String::as_str)) {
                self.spawns.push(Call { file: module.file.clone(), line: leaf.line, call: leaf.path.join("::") });
            }
            if leaf.glob {
                module.globs.push((leaf.path.clone(), public));
            } else if leaf.name != "_" {
                module.names.insert(leaf.name, Name::Use { target: leaf.path.clone(), public });
            }
            module.mentions.push(Mention { path: leaf.path, line: leaf.line, kind });
        }
    }

    fn take(&mut self, number: usize, reader: Reader<'_>) {
        let module = &mut self.modules[number];
        for (name, target) in reader.local_names {
            module.names.entry(name).or_insert(Name::Use { target, public: false });
        }
        module.mentions.extend(reader.mentions);
        self.functions.extend(reader.functions);
        self.constants.extend(reader.constants);
        self.spawns.extend(reader.spawns);
        self.readings.extend(reader.readings);
        self.types.extend(reader.types);
    }
}

/// Whether the attributes mark test code: `#[test]`, `#[cfg(test)]`, `#[cfg(doctest)]` or `#[cfg(all(test, …))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition == "doctest" || condition.starts_with("all(test")
        }
        Meta::Path(path) => path.is_ident("test"),
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn declared(item: &Item) -> Option<(String, bool)> {
    let (name, vis) = match item {
        Item::Const(i) => (&i.ident, &i.vis),
        Item::Enum(i) => (&i.ident, &i.vis),
        Item::Fn(i) => (&i.sig.ident, &i.vis),
        Item::Static(i) => (&i.ident, &i.vis),
        Item::Struct(i) => (&i.ident, &i.vis),
        Item::Trait(i) => (&i.ident, &i.vis),
        Item::Type(i) => (&i.ident, &i.vis),
        Item::Macro(i) => return i.ident.as_ref().map(|name| (name.to_string(), false)),
        _ => return None,
    };
    Some((name.to_string(), matches!(vis, Visibility::Public(_))))
}

/// The file of `mod name;` in `file`: in the same folder if `file` is a crate root or a `mod.rs`, otherwise in the folder named after `file`.
fn file_of_module(files: &Files, file: &str, name: &str) -> Option<String> {
    let path = Path::new(file);
    let mut folder = path.parent()?.to_path_buf();
    if !matches!(path.file_name()?.to_str()?, "lib.rs" | "main.rs" | "mod.rs") {
        folder.push(path.file_stem()?);
    }
    [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]
        .into_iter()
        .map(|candidate| candidate.display().to_string())
        .find(|candidate| files.contains_key(candidate))
}

pub struct Leaf {
    pub path: Vec<String>,
    pub name: String,
    glob: bool,
    line: usize,
}

/// The single paths of a `use`; a group has one for each of its names.
pub fn leaves(import: &ItemUse) -> Vec<Leaf> {
    let mut found = Vec::new();
    let start = if import.leading_colon.is_some() { vec![String::new()] } else { Vec::new() };
    walk(&import.tree, start, &mut found);
    found
}

fn walk(tree: &UseTree, mut path: Vec<String>, found: &mut Vec<Leaf>) {
    let line = tree.span().start().line;
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            walk(&inner.tree, path, found);
        }
        UseTree::Group(inner) => inner.items.iter().for_each(|item| walk(item, path.clone(), found)),
        UseTree::Glob(_) => found.push(Leaf { name: String::new(), path, glob: true, line }),
        UseTree::Name(inner) => {
            let mut name = inner.ident.to_string();
            if name == "self" {
                name = path.last().cloned().unwrap_or_default();
            } else {
                path.push(name.clone());
            }
            found.push(Leaf { path, name, glob: false, line });
        }
        UseTree::Rename(inner) => {
            if inner.ident != "self" {
                path.push(inner.ident.to_string());
            }
            found.push(Leaf { path, name: inner.rename.to_string(), glob: false, line });
        }
    }
}

/// Collects the paths, names and sizes in one item of a module. Items under `#[cfg(test)]` are left out.
#[derive(Default)]
struct Reader<'f> {
    file: &'f str,
    mentions: Vec<Mention>,
    local_names: Vec<(String, Vec<String>)>,
    functions: Vec<Function>,
    constants: Vec<Constant>,
    spawns: Vec<Call>,
    readings: Vec<Call>,
    types: Vec<TypePart>,
}

impl Reader<'_> {
    fn mention(&mut self, path: Vec<String>, line: usize, kind: MentionKind) {
        if let [.., owner, last] = path.as_slice() {
            let call = || Call { file: self.file.into(), line, call: path.join("::") };
            if is_spawn(last) {
                self.spawns.push(call());
            }
            if is_reading(owner, last) {
                self.readings.push(call());
            }
        }
        self.mentions.push(Mention { path, line, kind });
    }

    fn method(&mut self, name: &syn::Ident) {
        let call = Call { file: self.file.into(), line: name.span().start().line, call: format!(".{name}") };
        if is_spawn(&name.to_string()) {
            self.spawns.push(call);
        } else if name == "elapsed" {
            self.readings.push(call);
        }
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (line, end) = (signature.span().start().line, body.span().end().line);
        let name = signature.ident.to_string();
        self.functions.push(Function { file: self.file.into(), name, line, lines: end + 1 - line });
    }

    fn constant(&mut self, name: String, ty: &syn::Type, value: Option<&syn::Expr>) {
        let alias = matches!(value, Some(syn::Expr::Path(value)) if names_a_constant(&value.path));
        let (line, kind) = (ty.span().start().line, words_of(ty));
        self.constants.push(Constant { file: self.file.into(), name, line, kind, alias });
    }

    fn part(&mut self, name: String, methods: usize, whole: proc_macro2::Span) {
        let lines = whole.end().line + 1 - whole.start().line;
        self.types.push(TypePart { file: self.file.into(), name, methods, lines });
    }

    /// Finds the paths (`name::name…`) inside the tokens of a macro call.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons, mut after_dot) = (0, 0, false);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 => path.push(ident.to_string()),
                TokenTree::Ident(ident) => {
                    self.end_of_path(&mut path, line);
                    line = ident.span().start().line;
                    if after_dot {
                        self.method(&ident);
                    }
                    path.push(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Punct(punct) => {
                    self.end_of_path(&mut path, line);
                    after_dot = punct.as_char() == '.';
                    colons = 0;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end_of_path(&mut path, line);
                    self.tokens(group.stream());
                }
                TokenTree::Literal(_) => self.end_of_path(&mut path, line),
            }
            (colons, after_dot) = (0, false);
        }
        self.end_of_path(&mut path, line);
    }

    fn end_of_path(&mut self, path: &mut Vec<String>, line: usize) {
        if path.len() > 1 {
            self.mention(std::mem::take(path), line, MentionKind::Code);
        }
        path.clear();
    }
}

fn is_spawn(name: &str) -> bool {
    matches!(name, "spawn" | "spawn_blocking" | "spawn_local" | "spawn_on")
}

fn is_reading(owner: &str, name: &str) -> bool {
    matches!((owner, name), ("Instant" | "SystemTime", "now") | ("Uuid", "new_v4" | "now_v7"))
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_some() {
            names.insert(0, String::new());
        }
        self.mention(names, path.span().start().line, MentionKind::Code);
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        for leaf in leaves(import) {
            self.mention(leaf.path.clone(), leaf.line, MentionKind::Import);
            if !leaf.glob {
                self.local_names.push((leaf.name, leaf.path));
            }
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.tokens(call.tokens.clone());
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // `Command::spawn` takes no argument and starts a process, not a task.
        if call.method != "spawn" || !call.args.is_empty() {
            self.method(&call.method);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if is_test(&function.attrs) {
            return;
        }
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_const(&mut self, constant: &'ast syn::ItemConst) {
        self.constant(constant.ident.to_string(), &constant.ty, Some(&constant.expr));
        visit::visit_item_const(self, constant);
    }

    fn visit_item_static(&mut self, constant: &'ast syn::ItemStatic) {
        self.constant(constant.ident.to_string(), &constant.ty, Some(&constant.expr));
        visit::visit_item_static(self, constant);
    }

    fn visit_impl_item_const(&mut self, constant: &'ast syn::ImplItemConst) {
        self.constant(constant.ident.to_string(), &constant.ty, Some(&constant.expr));
        visit::visit_impl_item_const(self, constant);
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let methods = block.items.iter().filter(|item| matches!(item, syn::ImplItem::Fn(_))).count();
        self.part(words_of(&block.self_ty), methods, block.span());
        visit::visit_item_impl(self, block);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.part(item.ident.to_string(), 0, item.span());
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.part(item.ident.to_string(), 0, item.span());
        visit::visit_item_enum(self, item);
    }
}

/// Whether a path names a constant of a module, and not one of a type as in `Duration::MAX`.
fn names_a_constant(path: &syn::Path) -> bool {
    let owner = path.segments.iter().rev().nth(1);
    owner.is_none_or(|owner| owner.ident.to_string().starts_with(char::is_lowercase))
}

/// The last name of each path in a type: `Range<Duration>` gives `Range Duration`.
fn words_of(ty: &syn::Type) -> String {
    struct Words(Vec<String>);
    impl<'ast> Visit<'ast> for Words {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.0.extend(path.segments.last().map(|segment| segment.ident.to_string()));
            visit::visit_path(self, path);
        }
    }
    let mut words = Words(Vec::new());
    words.visit_type(ty);
    words.0.join(" ")
}
