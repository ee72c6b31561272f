// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shared objects that `cargo bento build --variant user` makes: the kernel's own panic handler, unwinder and stack
//! check (SAFETY.md B2). An object stays loaded while a mount has an instance or inode data of it; what was abandoned keeps
//! its code for ever (SAFETY.md C2).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bento::abi;
use bento::fs::FileSystem;

use crate::helpers;

/// Why an object cannot be used.
#[derive(Debug)]
pub struct LoadError {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for LoadError {}

/// The code of one version of a file system. Clones share it; with the last of them a loaded one is unloaded.
#[derive(Clone)]
pub struct Object {
    ops: *const abi::bento_ops,
    /// `None`: compiled into this program.
    library: Option<Arc<Library>>,
}

/// A loaded object; dropped, it is unloaded.
struct Library {
    _handle: libloading::os::unix::Library,
    path: PathBuf,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} from {}", self.version(), self.place())
    }
}

// SAFETY: SAFETY.md C7: constant data and function pointers that any thread may call.
unsafe impl Send for Object {}
// SAFETY: SAFETY.md C7, as above.
unsafe impl Sync for Object {}

/// Initialised modules by address: the same file loaded twice is one module.
static LOADED: Mutex<Vec<(usize, Weak<Library>)>> = Mutex::new(Vec::new());

impl Object {
    /// A file system compiled into this program.
    pub fn of<F: FileSystem>() -> Object {
        Object::over(bento::thunk::ops::<F>())
    }

    /// A table of one's own making: for tests of what a shim refuses.
    pub fn over(ops: &'static abi::bento_ops) -> Object {
        Object { ops, library: None }
    }

    pub fn ops(&self) -> &abi::bento_ops {
        // SAFETY: SAFETY.md C7: constant data, `'static` or of the library that is kept with it.
        unsafe { &*self.ops }
    }

    pub fn version(&self) -> u32 {
        self.ops().version
    }

    /// It has the runtime's own unwinder, so its calls can be abandoned; with std's they cannot.
    pub fn is_freestanding(&self) -> bool {
        self.library.is_some()
    }

    /// The file it was loaded from.
    pub fn path(&self) -> Option<&Path> {
        self.library.as_ref().map(|library| library.path.as_path())
    }

    /// The same in words.
    pub fn place(&self) -> String {
        self.path().map_or_else(|| "this program".to_owned(), |path| path.display().to_string())
    }

    /// Loads and initialises the object at `path`.
    pub fn load(path: &Path) -> Result<Object, LoadError> {
        let error = |reason: String| LoadError { path: path.to_owned(), reason };
        let path = path.canonicalize().map_err(|reason| error(reason.to_string()))?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: an object of ours runs no code when it is loaded; that a stranger's might is the caller's choice of file.
        let library = unsafe { libloading::os::unix::Library::new(&path) }
            .map_err(|reason| error(format!("cannot be loaded: {reason}")))?;
        let find = |name: &[u8]| {
            // SAFETY: the type of every symbol looked up here is checked by its user.
            unsafe { library.get::<*const u8>(name) }.map(|symbol| symbol.as_raw_ptr().cast::<u8>().cast_const()).ok()
        };
        let module = find(b"bento_fs_main").ok_or_else(|| {
            error("has no bento_fs_main: build it with `cargo bento build --variant user`".to_owned())
        })?;
        loaded.retain(|(_, library)| library.strong_count() > 0);
        let before = loaded.iter().find(|(address, _)| *address == module.addr()).and_then(|(_, kept)| kept.upgrade());
        // SAFETY: SAFETY.md C7: `bento_fs_main` is a `struct bento_module` by its name; magic and version come first.
        let module = unsafe { &*module.cast::<abi::bento_module>() };
        if module.magic != abi::BENTO_ABI_MAGIC {
            return Err(error("is no file system of bento's".to_owned()));
        }
        if module.abi != abi::BENTO_ABI_VERSION {
            let (theirs, ours) = (module.abi, abi::BENTO_ABI_VERSION);
            return Err(error(format!("was built for ABI {theirs}, this program speaks ABI {ours}: build it again")));
        }
        // SAFETY: SAFETY.md C7: constant data of an object that is kept with it.
        let ops = unsafe { module.ops.as_ref() }.ok_or_else(|| error("has no table of operations".to_owned()))?;
        if let Some(library) = before {
            return Ok(Object { ops, library: Some(library) });
        }
        connect_stack_check(find(b"bento_user_check"));
        let unwind = match (find(b"__bento_unwind_start"), find(b"__bento_unwind_end")) {
            (Some(start), Some(end)) => abi::bento_object { unwind: start, unwind_len: end.addr() - start.addr() },
            _ => abi::bento_object { unwind: std::ptr::null(), unwind_len: 0 },
        };
        let init = module.init.ok_or_else(|| error("has no init function".to_owned()))?;
        // SAFETY: SAFETY.md C7: our table is `'static`, and the unwind table is part of the object, which stays.
        let result = unsafe { init(&helpers::HOST, &unwind) };
        if result != 0 {
            return Err(error(format!("refused to start: {}", bento::errno::Errno::new(result.saturating_neg()))));
        }
        let address = std::ptr::from_ref(module).addr();
        let library = Arc::new(Library { _handle: library, path });
        loaded.push((address, Arc::downgrade(&library)));
        Ok(Object { ops, library: Some(library) })
    }
}

/// Tells `bento_mcount` of an object where its limit lies and where to go (`user_object.S`).
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn connect_stack_check(check: Option<*const u8>) {
    let Some(check) = check else { return };
    let overflow: unsafe extern "C" fn(*const abi::bento_regs) = crate::call::asm::overflow;
    let words = check.cast_mut().cast::<usize>();
    // SAFETY: SAFETY.md G6: two words of the object's data, before any of its functions runs.
    unsafe {
        words.write(crate::call::stack_limit_slot() as usize);
        words.add(1).write(overflow as usize);
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn connect_stack_check(_check: Option<*const u8>) {}
