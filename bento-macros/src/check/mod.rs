// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stage 3: the rules. Each check reports into one collector at the author's token and goes on; what comes out is enough
//! to expand, mistakes or not.

mod chain;
mod declaration;
mod handlers;
mod options;
mod safety;
mod signature;
mod state;

pub use chain::{Chain, Versioned, Way};
pub use declaration::{Declared, Needed, declaration};
pub use handlers::{Checked, Condition, Rule, handlers};
pub use options::{MountOption, options};
pub use signature::show;
pub use state::{Content, Crossing, Role, state};
