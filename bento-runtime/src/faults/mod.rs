// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Faults that a test asks for, in a file system as it is: in process one access to blocks after the other ([`arm`]), in an
//! object that was built for it (`cargo bento build --features faults`) those of some calls. Shipped objects have neither.

#[cfg(feature = "std")]
mod counted;
#[cfg(feature = "faults")]
pub(crate) mod requested;

#[cfg(feature = "std")]
pub use counted::{Fault, arm, disarm};

use crate::abi;
use crate::errno::Result;

/// An access: a block that is looked up, a change, the beginning and the end of a transaction.
#[inline(always)]
pub(crate) fn access(call: *mut abi::bento_call) -> Result<()> {
    let _ = call;
    #[cfg(feature = "std")]
    counted::access()?;
    #[cfg(feature = "faults")]
    requested::access(call)?;
    Ok(())
}
