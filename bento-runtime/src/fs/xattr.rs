// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Buffers that handlers append an answer to: an attribute's value, a list of names, a link's target.

use super::Name;

/// A kernel buffer private to the call. It counts past its end, so that the shim can tell user space the size it needs.
struct Output<'call> {
    buf: &'call mut [u8],
    len: usize,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buf.get_mut(self.len..self.len.saturating_add(bytes.len())) {
            room.copy_from_slice(bytes);
        }
        self.len = self.len.saturating_add(bytes.len());
    }
}

macro_rules! output {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<'call>(Output<'call>);

        impl<'call> $name<'call> {
            pub(crate) fn new(buf: &'call mut [u8]) -> Self {
                $name(Output { buf, len: 0 })
            }

            /// Bytes put so far, also those beyond the caller's buffer.
            #[allow(clippy::len_without_is_empty)]
            pub fn len(&self) -> usize {
                self.0.len
            }
        }
    };
}

output! {
    /// Where `getxattr` puts a value.
    XattrValue
}
output! {
    /// Where `listxattr` puts names.
    XattrList
}
output! {
    /// Where `get_link` puts the target of a symbolic link.
    LinkTarget
}

impl XattrValue<'_> {
    /// Appends to the value. A caller whose buffer is too small gets `ERANGE`, from the shim.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.put(bytes);
    }
}

impl XattrList<'_> {
    /// Adds a name, with its prefix.
    pub fn add(&mut self, name: &Name) {
        self.0.put(name.as_bytes());
        self.0.put(&[0]);
    }
}

impl LinkTarget<'_> {
    /// Appends to the target.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.put(bytes);
    }
}
