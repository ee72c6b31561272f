// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What an object without std must bring itself: the heap, the panic handler and the names that code generation calls.

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

use crate::contain;
use crate::errno::Errno;
use crate::host::memory;
use crate::unwind::frames;
use crate::unwind::table::Place;

struct ShimHeap;

#[global_allocator]
static HEAP: ShimHeap = ShimHeap;

// SAFETY: SAFETY.md C3: the shim's heap is aligned as asked and safe to call from any handler.
unsafe impl GlobalAlloc for ShimHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        memory::alloc(layout.size(), layout.align())
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: SAFETY.md C3: the caller's promise.
        unsafe { memory::dealloc(ptr, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: SAFETY.md C3: the caller's promise.
        unsafe { memory::realloc(ptr, layout.size(), layout.align(), size) }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let message = info.message();
    let own = info.location().map(|at| Place { file: at.file(), line: at.line(), column: at.column() });
    // Where the library panics, the author wants to know which of his lines made it.
    let place = match own {
        Some(place) if !place.file.starts_with(LIBRARY) => place,
        // SAFETY: SAFETY.md G6: Rust runs below a record only.
        _ => unsafe { frames::caller() }.or(own).unwrap_or(NOWHERE),
    };
    contain::raise_at(Errno::EIO, format_args!("{message}"), place)
}

#[alloc_error_handler]
fn out_of_memory(layout: Layout) -> ! {
    let message = format_args!("out of memory: an allocation of {} bytes failed", layout.size());
    // SAFETY: SAFETY.md G6: Rust runs below a record only.
    let place = unsafe { frames::caller() }.unwrap_or(NOWHERE);
    contain::raise_at(Errno::ENOMEM, message, place)
}

/// What the build calls the folder of `core` and `alloc`.
const LIBRARY: &str = "/rustc/";

const NOWHERE: Place<'static> = Place { file: "", line: 0, column: 0 };

/// Named by every function's unwind table and never called: the tables are read by [`crate::unwind`].
#[lang = "eh_personality"]
extern "C" fn rust_eh_personality() {}
