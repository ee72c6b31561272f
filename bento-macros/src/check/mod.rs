// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stage 3: the rules. Each check reports into one collector at the author's token and goes on; what comes out is enough
//! to expand, mistakes or not.

mod declaration;
mod handlers;
mod options;
mod safety;
mod signature;

pub use declaration::{Declared, declaration};
pub use handlers::{Checked, Condition, Rule, handlers};
pub use options::{MountOption, options};
