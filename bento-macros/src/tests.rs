// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Expansions and messages without a compiler: what the UI tests show at length is kept right here in milliseconds.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;

use super::pipeline;

/// The formatted expansion, which must hold no error.
fn expanded(tokens: TokenStream) -> String {
    let file: syn::File = syn::parse2(tokens.clone()).unwrap_or_else(|error| panic!("{error}: {tokens}"));
    let text = prettyplease::unparse(&file);
    assert!(!text.contains("compile_error"), "{text}");
    text
}

/// The messages of the errors in an expansion.
fn messages(tokens: TokenStream) -> Vec<String> {
    let file: syn::File = syn::parse2(tokens.clone()).unwrap_or_else(|error| panic!("{error}: {tokens}"));
    file.items
        .into_iter()
        .filter_map(|item| match item {
            syn::Item::Macro(item) if item.mac.path.segments.last().unwrap().ident == "compile_error" => {
                Some(syn::parse2::<syn::LitStr>(item.mac.tokens).unwrap().value())
            }
            _ => None,
        })
        .collect()
}

/// The first line of each message about one handler beside the mandatory ones.
fn about(handler: TokenStream) -> Vec<String> {
    let tokens = pipeline::bento_fs(
        quote!(),
        quote! {
            impl FileSystem for Fs {
                #handler
            }
        },
    );
    messages(tokens).iter().map(|message| message.lines().next().unwrap().to_owned()).collect()
}

#[test]
fn a_struct_gets_its_name_version_and_data() {
    let text = expanded(pipeline::bento_fs(
        quote!(name = "memfs", version = 2, data = "resident", extends = (), on_panic = "restart"),
        quote!(
            pub struct MemFs {
                #[state(2)]
                pub next: u64,
                #[state(skip)]
                cache: Cache,
            }
        ),
    ));
    assert_eq!(
        text,
        "\
pub struct MemFs {
    pub next: u64,
    cache: Cache,
}
#[automatically_derived]
impl ::bento::fs::Declared for MemFs {
    const NAME: &'static str = \"memfs\";
    const VERSION: u32 = 2;
    const DATA: ::bento::fs::DataMode = ::bento::fs::DataMode::Resident;
    const ON_PANIC: ::bento::fs::OnPanic = ::bento::fs::OnPanic::Restart;
}
#[automatically_derived]
impl ::bento::state::State for MemFs {
    const SHAPE: &'static ::bento::state::Shape = &::bento::state::Shape::Struct(
        \"MemFs\",
        &[::bento::state::Field::of::<u64>(2, \"next\")],
    );
    fn save(&self, out: &mut ::bento::state::Saver<'_>) -> ::bento::errno::Result<()> {
        out.map(1)?;
        out.field(2, &self.next)?;
        ::core::result::Result::Ok(())
    }
    fn load(from: &mut ::bento::state::Loader<'_>) -> ::bento::errno::Result<Self> {
        let mut next = ::core::option::Option::None;
        from.fields(|tag, from| match tag {
            2 => from.field(&mut next),
            _ => ::core::result::Result::Ok(false),
        })?;
        ::core::result::Result::Ok(MemFs {
            next: next.ok_or_else(|| from.missing(2, \"next\"))?,
            cache: <Cache as ::core::default::Default>::default(),
        })
    }
}
"
    );
}

#[test]
fn a_version_takes_over_the_one_before_and_gives_it_back() {
    let text = expanded(pipeline::bento_fs(
        quote!(name = "memfs", version = 2, extends = v1::MemFs, downgrades = v1::MemFs),
        quote!(
            pub struct MemFs {
                #[state(1, default = 7)]
                next: u64,
            }
        ),
    ));
    // How a macro's arguments are spaced is not the question.
    let plain = |text: &str| text.replace([' ', '\n'], "");
    let has = |part: &str| assert!(plain(&text).contains(&plain(part)), "{part}: {text}");
    has("::bento::state::Shapes::of(Self::SHAPE).and(<v1::MemFs as ::bento::state::State>::LOADS)");
    has("::bento::state::extend::<Self, v1::MemFs>(shape, from)");
    has("::bento::state::downgrade::<Self, v1::MemFs>(self, shape, out)");
    has("next: next.unwrap_or_else(|| 7),");
    has("out.field_or(1, \"next\", &self.next, || 7)?;");
    has("<v1::MemFs as ::bento::state::Version>::VERSION < 2,");
    has("<MemFs as ::bento::fs::FileSystem>::Inode");
    assert!(!text.contains("field_default_missing"), "it has one: {text}");
}

#[test]
fn a_frozen_struct_is_a_version() {
    let text = expanded(pipeline::state(quote!(
        #[state(fs = "memfs", version = 1, inode = BTreeMap<u64, Node>)]
        pub struct MemFs {
            #[state(1)]
            next: u64,
        }
    )));
    assert!(text.contains("impl ::bento::state::Version for MemFs"), "{text}");
    assert!(text.contains("type Inode = BTreeMap<u64, Node>;"), "{text}");
}

#[test]
fn names_of_fields_and_of_the_macro_do_not_meet() {
    let tokens = pipeline::state(quote!(
        enum Kind {
            #[state(2)]
            Later(#[state(1)] u64, #[state(skip)] u8),
            #[state(1)]
            First {
                #[state(1)]
                out: u64,
                #[state(2)]
                from: u64,
                #[state(3)]
                r#type: u64,
            },
        }
    ));
    let text = expanded(tokens);
    // By tag, whatever the order of the source.
    assert!(text.find("\"First\"") < text.find("\"Later\""), "{text}");
    assert!(text.contains("Field::of::<u64>(3, \"type\")"), "{text}");
    assert!(text.contains("Self::Later(field_0, _) =>"), "{text}");
    // As source as well, where nothing is hygienic.
    assert!(text.contains("Self::First { out: field_out, from: field_from, r#type } =>"), "{text}");
}

#[test]
fn an_impl_gets_its_presence_bits_and_keeps_everything_else() {
    let text = expanded(pipeline::bento_fs(
        quote!(),
        quote!(
            impl bento::fs::FileSystem for Fs {
                fn mount(cx: &MountContext) -> Result<Self> {
                    Ok(Fs)
                }
                #[cfg(feature = "stat")]
                fn statfs(&self, cx: &Context<Self>, out: &mut Statfs) -> Result<()> {
                    Ok(())
                }
            }
        ),
    ));
    assert_eq!(
        text,
        "\
impl bento::fs::FileSystem for Fs {
    type Inode = ();
    fn mount(cx: &MountContext) -> Result<Self> {
        Ok(Fs)
    }
    #[cfg(feature = \"stat\")]
    fn statfs(&self, cx: &Context<Self>, out: &mut Statfs) -> Result<()> {
        Ok(())
    }
}
#[automatically_derived]
impl ::bento::fs::Handlers for Fs {
    const HANDLERS: ::bento::fs::HandlerSet = {
        use ::bento::fs::{HandlerSet, Op};
        let set = HandlerSet::EMPTY.with(Op::mount);
        #[cfg(feature = \"stat\")]
        let set = set.with(Op::statfs);
        set
    };
}
"
    );
}

#[test]
fn mistakes_on_the_struct_are_told_together() {
    let tokens = pipeline::bento_fs(
        quote!(nmae = "x", version = 0, version = 2, data = "stripes", name = "Mem-FS"),
        quote!(
            struct MemFs<T>(T);
        ),
    );
    let messages = messages(tokens);
    let told = |part: &str| assert!(messages.iter().any(|message| message.contains(part)), "{part}: {messages:#?}");
    told("no generic parameters");
    told("knows no `nmae`; did you mean `name`?");
    told("`version` is a whole number from 1");
    told("`version` is given twice");
    told("file data is not kept as `stripes`");
    told("`Mem-FS` is no file system's name");
    assert_eq!(messages.len(), 6, "{messages:#?}");
}

#[test]
fn a_wrong_argument_is_named() {
    let lookup = |arguments: TokenStream| about(quote!(fn lookup(#arguments) -> Result<Ino> { todo!() }));
    assert_eq!(
        lookup(quote!(&self, cx: &Context<Self>, dir: &Inode<Self>, name: &[u8])),
        ["this argument of `lookup` is `name: &Name`, not `&[u8]`"]
    );
    assert_eq!(
        lookup(quote!(&self, cx: &Context, dir: &Inode<Self>, name: &mut Name)),
        [
            "this argument of `lookup` is `cx: &Context<Self>`, not `&Context`",
            "this argument of `lookup` is `name: &Name`, not `&mut Name`"
        ]
    );
    assert_eq!(lookup(quote!(&self, dir: &Inode<Self>, name: &Name)), ["`lookup` lacks `cx: &Context<Self>` here"]);
    assert_eq!(
        lookup(quote!(&self, cx: &Context<Self>, dir: &Inode<Self>, flags: u32, name: &Name)),
        ["`lookup` has no such argument"]
    );
    assert_eq!(
        lookup(quote!(&mut self, cx: &Context<Self>, dir: &Inode<Self>, name: &Name)),
        [
            "`lookup` takes `&self`, not `&mut self`: all tasks share the instance, and what changes is behind a lock of `bento::sync`"
        ]
    );
}

#[test]
fn what_may_be_an_alias_is_left_to_the_compiler() {
    for handler in [
        quote!(
            fn lookup(&self, _: &Cx, d: &bento::fs::Inode<Fs>, n: &'_ Name) -> bento::Result<Ino> {
                todo!()
            }
        ),
        quote!(
            fn lookup(self: &Self, cx: &Context<Fs>, d: &Dir, name: &Bytes) -> Result<Ino, Errno> {
                todo!()
            }
        ),
        quote!(
            fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, u32)> {
                todo!()
            }
        ),
        quote!(
            fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Answer {
                todo!()
            }
        ),
        quote!(
            fn mount(cx: &MountContext<'_>) -> Result<Fs> {
                todo!()
            }
        ),
        quote!(
            fn rename(&self, cx: &Context<Self>, r: Rename<'_, Self>) -> Result<()> {
                todo!()
            }
        ),
        quote!(
            fn unmount(&self, cx: &Context<Self>) -> () {}
        ),
    ] {
        assert_eq!(about(handler.clone()), [""; 0], "{handler}");
    }
}

#[test]
fn unknown_handlers_are_translated() {
    let called = |name: &str| {
        let name = syn::Ident::new(name, proc_macro2::Span::call_site());
        about(quote!(fn #name(&self) {})).remove(0)
    };
    assert_eq!(called("lokup"), "there is no handler `lokup`; did you mean `lookup`?");
    assert_eq!(called("readdir"), "there is no handler `readdir`: here it is called `iterate`");
    assert_eq!(called("readlink"), "there is no handler `readlink`: here it is called `get_link`");
    assert_eq!(called("defragment"), "there is no handler `defragment`");
}

#[test]
fn a_handler_that_was_meant_is_not_missing_as_well() {
    let text = pipeline::bento_fs(
        quote!(),
        quote!(
            impl FileSystem for Fs {
                fn lokup(&self, inode: &Self::Inode) {}
            }
        ),
    )
    .to_string();
    assert!(text.contains("fn lookup (& self , cx : & :: bento :: fs :: Context < Self >"), "{text}");
    assert!(text.contains("fn lokup (& self , inode : & < Self as :: bento :: fs :: FileSystem > :: Inode)"), "{text}");
}

#[test]
fn unsafety_is_found_inside_macros() {
    let body = quote!(
        fn unmount(&self, cx: &Context<Self>) {
            vec![unsafe { *p }];
            let r#unsafe = "unsafe";
        }
    );
    assert_eq!(about(body), ["`unsafe` in a file system: handlers are safe Rust"]);
    let body = quote!(
        fn unmount(&self, cx: &Context<Self>) {
            global_asm!("nop");
        }
    );
    assert_eq!(about(body), ["assembly in a file system: handlers are safe Rust"]);
}

#[test]
fn handlers_that_belong_together() {
    let write = quote!(
        fn write(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, source: &mut WriteSource) -> Result<()> {
            todo!()
        }
    );
    let read = quote!(
        fn read(&self, cx: &Context<Self>, inode: &Inode<Self>, offset: u64, sink: &mut ReadSink) -> Result<()> {
            todo!()
        }
    );
    assert_eq!(
        about(write.clone()),
        ["`write` needs `read` beside it: a write of part of a page first reads the rest of it"]
    );
    assert_eq!(about(quote!(#read #write)), [""; 0]);
    // Only the compiler knows whether the feature is on.
    let tokens = pipeline::bento_fs(quote!(), quote!(impl FileSystem for Fs { #[cfg(feature = "r")] #read #write }));
    assert!(tokens.to_string().contains("HANDLERS . has (:: bento :: fs :: Op :: read)"), "{tokens}");
}

#[test]
fn options_of_a_mount() {
    let text = expanded(pipeline::mount_options(quote!(
        struct Options {
            #[option(default = Size(16 << 20))]
            size: Size,
            #[option(name = "no-atime")]
            no_atime: bool,
            r#type: Option<u32>,
            #[option(default = true, off = "nobarrier")]
            barrier: bool,
        }
    )));
    let names = text.split_once("NAMES").and_then(|(_, text)| text.split_once(';')).map_or("", |(names, _)| names);
    let names: Vec<_> = names.split('"').skip(1).step_by(2).collect();
    assert_eq!(names, ["size", "no-atime", "type", "barrier", "nobarrier"], "{text}");
    assert!(text.contains("self.barrier = <bool as ::core::convert::From<bool>>::from("), "{text}");
    assert!(text.contains("size: Size(16 << 20),"), "{text}");
    assert!(text.contains("r#type: ::core::default::Default::default(),"), "{text}");
    assert_eq!(
        messages(pipeline::mount_options(quote!(
            struct Options {
                #[option(defualt = 1)]
                a: u32,
                #[option(name = "a")]
                b: u32,
                #[option(name = "x=y", default)]
                c: u32,
                #[option(default = true)]
                d: bool,
                #[option(off = "d")]
                e: bool,
            }
        ))),
        [
            "`#[option]` knows no `defualt`; did you mean `default`?\nit takes `default = …`, `name = \"…\"` and `off = \"…\"`",
            "two options are called `a`",
            "`x=y` cannot be typed after `-o`: no blanks, `,`, `=`, quotes or `\\`",
            "`default` needs a value: `default = Size(16 << 20)`",
            "a bare word turns an option on: nothing could turn this one off",
            "two options are called `d`",
        ]
    );
}

#[test]
fn an_enum_keeps_its_tokens() {
    let tokens = pipeline::bento_fs(
        quote!(name = "x", version = 1),
        quote!(
            enum Fs {
                A,
            }
        ),
    );
    assert!(messages(tokens.clone())[0].starts_with("`#[bento_fs]` does not go on an enum"));
    assert!(tokens.to_string().ends_with("enum Fs { A , }"), "{tokens}");
}

#[test]
fn half_written_code_never_panics() {
    let whole = quote!(
        impl FileSystem for Fs {
            type Inode = Node;
            fn mount(cx: &MountContext) -> Result<Self> { Ok(Fs) }
            #[cfg(feature = "x")]
            fn load_inode(&self, cx: &Context<Self>, ino: Ino) -> Result<(Attr, Self::Inode)> { todo!() }
            fn lookup(&self, _: &Context<Self>, dir: &Inode<Self>, name: &Name) -> Result<Ino> { Err(Errno::EIO) }
            fn setxattr(&self, cx: &Context<Self>, i: &Inode<Self>, n: &Name, value: &[u8], flags: u32) -> Result<()> {}
            fn write(&self, cx: &Context<Self>, i: &Inode<Self>, at: u64, source: &mut WriteSource) -> Result<()> {}
        }
    );
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let mut read = 0;
    for _ in 0..400 {
        let mut tokens = whole.clone();
        for _ in 0..=next(3) {
            tokens = spoiled(tokens, &mut next);
        }
        let expansion = pipeline::bento_fs(quote!(), tokens);
        read += usize::from(expansion.to_string().contains("Handlers"));
    }
    assert!(read > 20, "only {read} of the spoiled impls were still an impl");
}

/// `tokens` with one of them, at any depth, gone, doubled or moved.
fn spoiled(tokens: TokenStream, next: &mut impl FnMut(usize) -> usize) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    if tokens.is_empty() {
        return TokenStream::new();
    }
    let groups: Vec<_> = (0..tokens.len()).filter(|at| matches!(tokens[*at], TokenTree::Group(_))).collect();
    if !groups.is_empty() && next(5) > 0 {
        let at = groups[next(groups.len())];
        if let TokenTree::Group(group) = &tokens[at] {
            tokens[at] = Group::new(group.delimiter(), spoiled(group.stream(), next)).into();
        }
        return tokens.into_iter().collect();
    }
    let (at, to) = (next(tokens.len()), next(tokens.len()));
    match next(3) {
        0 => drop(tokens.remove(at)),
        1 => tokens.insert(to, tokens[at].clone()),
        _ => tokens.swap(at, to),
    }
    tokens.into_iter().collect()
}
