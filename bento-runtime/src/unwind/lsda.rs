// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Language-specific data: which landing pad, if any, belongs to a call. The layout is the Itanium C++ ABI's; Rust uses
//! of it what is read here.

use super::Reader;

/// What happens to a panic that passes a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing: on to the caller.
    Continue,
    /// Control goes to this offset in the function.
    Land(u64),
    /// The call was not to unwind: nothing can be run.
    Terminate,
}

/// Why the data were refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// A landing pad base other than the function's start.
    Base,
    /// A call-site encoding that is neither ULEB128 nor 32 bits.
    Encoding(u8),
    Truncated,
}

const OMITTED: u8 = 0xff;
const ULEB128: u8 = 0x01;
const UDATA4: u8 = 0x03;

/// What the data of a function say about the call at `offset` bytes into it.
pub fn action_at(lsda: &[u8], offset: u64) -> Result<Action, Error> {
    let mut found = Action::Terminate;
    for_each(lsda, |start, len, pad| {
        if offset >= start && offset - start < len {
            found = if pad == 0 { Action::Continue } else { Action::Land(pad) };
        }
    })?;
    Ok(found)
}

/// Every call site: start, length and landing pad (0 = none), in bytes from the function's start.
pub fn for_each(lsda: &[u8], mut site: impl FnMut(u64, u64, u64)) -> Result<(), Error> {
    let mut reader = Reader::new(lsda);
    if reader.u8().ok_or(Error::Truncated)? != OMITTED {
        return Err(Error::Base);
    }
    if reader.u8().ok_or(Error::Truncated)? != OMITTED {
        reader.uleb128().ok_or(Error::Truncated)?; // where the type table ends; Rust catches everything or nothing
    }
    let encoding = reader.u8().ok_or(Error::Truncated)?;
    let len = reader.uleb128().ok_or(Error::Truncated)?;
    let mut sites = usize::try_from(len).ok().and_then(|len| reader.take(len)).ok_or(Error::Truncated)?;
    while !sites.is_empty() {
        let mut number = || match encoding {
            ULEB128 => sites.uleb128().ok_or(Error::Truncated),
            UDATA4 => sites.u32().map(u64::from).ok_or(Error::Truncated),
            other => Err(Error::Encoding(other)),
        };
        let (start, len, pad) = (number()?, number()?, number()?);
        sites.uleb128().ok_or(Error::Truncated)?; // action: cleanup or catch-all, the same to us
        site(start, len, pad);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LSDA: &[u8] = &[0xff, 0xff, 0x01, 8, 2, 5, 40, 0, 10, 4, 0, 0];

    #[test]
    fn a_call_lands_continues_or_terminates() {
        assert_eq!(action_at(LSDA, 6), Ok(Action::Land(40)));
        assert_eq!(action_at(LSDA, 7), Ok(Action::Terminate));
        assert_eq!(action_at(LSDA, 13), Ok(Action::Continue));
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        assert_eq!(action_at(&[0, 0xff, 1, 0], 0), Err(Error::Base));
        assert_eq!(action_at(&[0xff, 0xff, 0x1b, 4, 0, 0, 0, 0], 0), Err(Error::Encoding(0x1b)));
        assert_eq!(action_at(&[0xff, 0xff, 1, 9, 0], 0), Err(Error::Truncated));
    }
}
