// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The collections of `alloc`, options, arrays and tuples. Memory is asked for as values arrive, not as a count promises.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::{Loader, Saver, Shape, State};
use crate::errno::Result;

impl State for String {
    const SHAPE: &'static Shape = &Shape::Text;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.text(self)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        from.text().map(String::from)
    }
}

impl State for Box<str> {
    const SHAPE: &'static Shape = &Shape::Text;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.text(self)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        from.text().map(Box::from)
    }
}

impl<T: State> State for Vec<T> {
    const SHAPE: &'static Shape = T::SLICE_SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        T::save_slice(self, out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        T::load_vec(from)
    }
}

impl<T: State> State for Box<[T]> {
    const SHAPE: &'static Shape = T::SLICE_SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        T::save_slice(self, out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        T::load_vec(from).map(Vec::into_boxed_slice)
    }
}

impl<T: State> State for Box<T> {
    const SHAPE: &'static Shape = T::SHAPE;

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        (**self).save(out)
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        T::load(from).map(Box::new)
    }

    fn poisoned(&self) -> bool {
        (**self).poisoned()
    }
}

/// An array of none or one: an option of an option keeps its meaning.
impl<T: State> State for Option<T> {
    const SHAPE: &'static Shape = &Shape::Option(T::SHAPE);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.array(self.iter().len())?;
        self.iter().try_for_each(|value| value.save(out))
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        match from.array()? {
            0 => Ok(None),
            1 => T::load(from).map(Some),
            len => Err(from.refuse(format_args!("{len} values in an option"))),
        }
    }
}

impl<K: State + Ord, V: State> State for BTreeMap<K, V> {
    const SHAPE: &'static Shape = &Shape::Map(K::SHAPE, V::SHAPE);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.map(self.len())?;
        for (key, value) in self {
            key.save(out)?;
            value.save(out)?;
        }
        Ok(())
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        let mut map = BTreeMap::new();
        for _ in 0..from.map()? {
            let key = K::load(from)?;
            map.insert(key, V::load(from)?);
        }
        Ok(map)
    }
}

/// What is saved and loaded one value after the other.
macro_rules! list {
    ($($list:ident $(: $bound:ident)?, $add:ident;)*) => {$(
        impl<T: State $(+ $bound)?> State for $list<T> {
            const SHAPE: &'static Shape = &Shape::List(T::SHAPE);

            fn save(&self, out: &mut Saver<'_>) -> Result<()> {
                out.array(self.len())?;
                self.iter().try_for_each(|value| value.save(out))
            }

            fn load(from: &mut Loader<'_>) -> Result<Self> {
                let mut list = $list::new();
                for _ in 0..from.array()? {
                    list.$add(T::load(from)?);
                }
                Ok(list)
            }
        }
    )*};
}

list! {
    BTreeSet: Ord, insert;
    VecDeque, push_back;
}

impl<T: State, const N: usize> State for [T; N] {
    const SHAPE: &'static Shape = &Shape::Array(N, T::SHAPE);

    fn save(&self, out: &mut Saver<'_>) -> Result<()> {
        out.array(N)?;
        self.iter().try_for_each(|value| value.save(out))
    }

    fn load(from: &mut Loader<'_>) -> Result<Self> {
        from.array_of(N)?;
        let mut values = Vec::new();
        values.try_reserve_exact(N)?;
        for _ in 0..N {
            values.push(T::load(from)?);
        }
        <[T; N]>::try_from(values).map_err(|_| from.refuse(format_args!("not {N} values")))
    }
}

macro_rules! tuple {
    ($($len:literal: $($part:ident)*;)*) => {$(
        #[allow(non_snake_case)]
        impl<$($part: State),*> State for ($($part,)*) {
            const SHAPE: &'static Shape = &Shape::Tuple(&[$($part::SHAPE),*]);

            fn save(&self, out: &mut Saver<'_>) -> Result<()> {
                let ($($part,)*) = self;
                out.array($len)?;
                $($part.save(out)?;)*
                Ok(())
            }

            fn load(from: &mut Loader<'_>) -> Result<Self> {
                from.array_of($len)?;
                Ok(($($part::load(from)?,)*))
            }
        }
    )*};
}

tuple! {
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E G;
}
