//! The modules of one crate as the compiler finds them: which file each is in, what it defines,
//! what it imports, and which paths it mentions.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Component, Path, PathBuf},
};

use anyhow::Context;
use proc_macro2::Span;
use syn::{Expr, ExprLit, Item, ItemMod, Lit, Meta, UseTree};

use super::references::{self, Reference};

/// A name that a `use` brings into a module.
pub(super) struct Import {
    pub(super) name: String,
    pub(super) path: Reference,
}

#[derive(Default)]
pub(super) struct Module {
    /// The module names from the crate's root to this module; empty for the root.
    pub(super) path: Vec<String>,
    pub(super) file: String,
    /// Whether the module is the top of its file, and not an inline `mod name { … }`.
    pub(super) is_file: bool,
    pub(super) parent: Option<usize>,
    pub(super) children: HashMap<String, usize>,
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// The modules and enums of `use path::*`.
    pub(super) globs: Vec<Reference>,
    pub(super) references: Vec<Reference>,
}

/// The modules of one crate; the first one is the root.
pub(super) struct Modules(pub(super) Vec<Module>);

/// Where to look for the files of a module's children.
struct Place<'a> {
    texts: &'a BTreeMap<&'a str, &'a str>,
    /// The folder of children without a `#[path]`.
    folder: PathBuf,
}

impl Modules {
    /// Reads the crate whose root is the file `root`. `texts` has every Rust file by its path.
    pub(super) fn read(root: &str, texts: &BTreeMap<&str, &str>) -> anyhow::Result<Self> {
        let mut modules = Self(Vec::new());
        let folder = Path::new(root).parent().map(Path::to_path_buf).unwrap_or_default();
        let module = Module { file: root.to_owned(), is_file: true, ..Module::default() };
        modules.add_file(module, &Place { texts, folder })?;
        Ok(modules)
    }

    fn add_file(&mut self, module: Module, place: &Place<'_>) -> anyhow::Result<usize> {
        let text = place.texts.get(&*module.file).copied().unwrap_or_default();
        let parsed = syn::parse_file(text).with_context(|| format!("{} cannot be parsed", module.file))?;
        self.add(module, &parsed.items, place)
    }

    fn add(&mut self, module: Module, items: &[Item], place: &Place<'_>) -> anyhow::Result<usize> {
        let index = self.0.len();
        self.0.push(module);
        for item in items {
            let Item::Mod(child) = item else {
                self.add_item(index, item);
                continue;
            };
            if let Some(added) = self.add_child(index, child, place)? {
                self.0[index].children.insert(child.ident.to_string(), added);
            }
        }
        Ok(index)
    }

    fn add_child(&mut self, parent: usize, item: &ItemMod, place: &Place<'_>) -> anyhow::Result<Option<usize>> {
        let name = item.ident.to_string();
        let above = &self.0[parent];
        let path = above.path.iter().chain([&name]).cloned().collect();
        let module = Module { path, parent: Some(parent), file: above.file.clone(), ..Module::default() };
        if let Some((_, items)) = &item.content {
            let inner = Place { texts: place.texts, folder: place.folder.join(&name) };
            return self.add(module, items, &inner).map(Some);
        }
        let beside = Path::new(&module.file).parent().map(Path::to_path_buf).unwrap_or_default();
        let candidates = match path_attribute(item) {
            Some(path) => vec![beside.join(path)],
            None => vec![place.folder.join(format!("{name}.rs")), place.folder.join(&name).join("mod.rs")],
        };
        let mut found = candidates.iter().map(|path| normalized(path));
        let Some(file) = found.find(|path| place.texts.contains_key(&**path)) else { return Ok(None) };
        let own = Path::new(&file);
        let folder = if own.file_name().is_some_and(|name| name == "mod.rs") || path_attribute(item).is_some() {
            own.parent().map(Path::to_path_buf).unwrap_or_default()
        } else {
            own.with_extension("")
        };
        let inner = Place { texts: place.texts, folder };
        self.add_file(Module { file, is_file: true, ..module }, &inner).map(Some)
    }

    fn add_item(&mut self, index: usize, item: &Item) {
        let found = references::of_item(item);
        let module = &mut self.0[index];
        module.items.extend(name_of(item));
        module.references.extend(found.paths);
        for import in found.imports {
            module.add_import(&import.tree, &mut Vec::new(), import.use_token.span);
        }
    }
}

impl Module {
    fn add_import(&mut self, tree: &UseTree, above: &mut Vec<String>, span: Span) {
        let path = |above: &[String], last: Option<String>, span: Span| Reference {
            segments: above.iter().cloned().chain(last).collect(),
            line: span.start().line,
        };
        match tree {
            UseTree::Path(below) => {
                above.push(below.ident.to_string());
                self.add_import(&below.tree, above, below.ident.span());
                above.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_import(tree, above, span)),
            UseTree::Glob(_) => self.globs.push(path(above, None, span)),
            UseTree::Name(name) if name.ident == "self" => {
                let last = above.last().cloned().unwrap_or_default();
                self.imports.push(Import { name: last, path: path(above, None, name.ident.span()) });
            }
            UseTree::Name(leaf) => {
                let name = leaf.ident.to_string();
                self.imports.push(Import { path: path(above, Some(name.clone()), leaf.ident.span()), name });
            }
            UseTree::Rename(rename) => {
                let last = (rename.ident != "self").then(|| rename.ident.to_string());
                self.imports
                    .push(Import { name: rename.rename.to_string(), path: path(above, last, rename.ident.span()) });
            }
        }
    }
}

/// The value of `#[path = "…"]`.
fn path_attribute(item: &ItemMod) -> Option<String> {
    item.attrs.iter().find_map(|attribute| {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("path")
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
        {
            return Some(text.value());
        }
        None
    })
}

/// Removes `.` and `..` from a path.
fn normalized(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

/// The name that an item gives to others.
#[allow(clippy::wildcard_enum_match_arm, reason = "the parser may add kinds of items")]
fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
