//! Typed shapes of JSON objects, defined once: fields, their names on the wire, and how they
//! are read and written.

use alloc::string::String;
use alloc::vec::Vec;

use crate::relay::raw::{Object, Raw, Text, ToJson};

/// A member that may be there, be `null`, or be something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Field<T> {
    /// It is not there.
    #[default]
    Absent,
    /// It is `null`: the sender resets it.
    Null,
    /// It is this.
    Is(T),
}

/// What a member of a shape can be.
pub(crate) trait Member<'a>: Sized {
    /// The value of the member, or of its absence; `None` when the shape does not allow it.
    fn read(value: Option<Raw<'a>>) -> Option<Self>;

    /// Adds the member, unless it is absent.
    fn write(&self, name: &str, object: &mut Object);
}

/// A member that is required where it is not wrapped.
macro_rules! member {
    ($($type:ty, $read:expr;)*) => {$(
        impl<'a> Member<'a> for $type {
            fn read(value: Option<Raw<'a>>) -> Option<Self> {
                value.and_then($read)
            }

            fn write(&self, name: &str, object: &mut Object) {
                object.member(name, self);
            }
        }
    )*};
}

member! {
    Raw<'a>, Some;
    Text<'a>, Raw::text;
    bool, Raw::boolean;
    u64, Raw::unsigned;
}

impl<'a, T: Member<'a>> Member<'a> for Option<T> {
    fn read(value: Option<Raw<'a>>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(_) => T::read(value).map(Some),
        }
    }

    fn write(&self, name: &str, object: &mut Object) {
        if let Some(value) = self {
            value.write(name, object);
        }
    }
}

impl<'a, T: Member<'a>> Member<'a> for Field<T> {
    fn read(value: Option<Raw<'a>>) -> Option<Self> {
        match value {
            None => Some(Self::Absent),
            Some(raw) if raw.is_null() => Some(Self::Null),
            Some(_) => T::read(value).map(Self::Is),
        }
    }

    fn write(&self, name: &str, object: &mut Object) {
        match self {
            Self::Absent => {}
            Self::Null => {
                object.member(name, &Raw::NULL);
            }
            Self::Is(value) => value.write(name, object),
        }
    }
}

impl<'a> Member<'a> for Vec<Text<'a>> {
    fn read(value: Option<Raw<'a>>) -> Option<Self> {
        let mut texts = Some(Self::new());
        value?.each_element(|element| {
            match (element.text(), &mut texts) {
                (Some(text), Some(texts)) => texts.push(text),
                _ => texts = None,
            }
            texts.is_some()
        })?;
        texts
    }

    fn write(&self, name: &str, object: &mut Object) {
        object.member(name, self.as_slice());
    }
}

impl ToJson for [Text<'_>] {
    fn append(&self, out: &mut String) {
        out.push('[');
        for (at, text) in self.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            text.append(out);
        }
        out.push(']');
    }
}

/// Defines an object with typed members. Members that it does not name are not kept.
macro_rules! shape {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:literal,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name<'a> { $($(#[$field_doc])* pub $field: $type,)* }

        impl<'a> $name<'a> {
            /// Reads the members; `None` when one is missing or of another type.
            #[must_use]
            pub fn parse(raw: Raw<'a>) -> Option<Self> {
                let [$($field),*] = raw.pick([$($wire),*])?;
                Some(Self { $($field: Member::read($field)?,)* })
            }

            /// The object as JSON.
            #[must_use]
            pub fn to_json(&self) -> String {
                let mut object = Object::new();
                $(Member::write(&self.$field, $wire, &mut object);)*
                object.finish()
            }
        }

        impl<'a> Member<'a> for $name<'a> {
            fn read(value: Option<Raw<'a>>) -> Option<Self> {
                value.and_then(Self::parse)
            }

            fn write(&self, name: &str, object: &mut Object) {
                object.member(name, &Raw::trusted(&self.to_json()));
            }
        }
    )*};
}

/// Defines objects that differ by their `type`, each with typed members. What is of no known
/// type, or not of its shape, is kept as it is.
macro_rules! kinds {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $(
            $(#[$kind_doc:meta])*
            $kind:ident = $tag:literal {
                $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:literal,)*
            }
        )* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name<'a> {
            $($(#[$kind_doc])* $kind { $($(#[$field_doc])* $field: $type,)* },)*
            /// Anything else, as it is.
            Other(Raw<'a>),
        }

        impl<'a> $name<'a> {
            /// Reads the value by its `type`.
            #[must_use]
            pub fn parse(raw: Raw<'a>) -> Self {
                let kind = raw.get("type").and_then(Raw::text);
                $(
                    if kind.as_ref().is_some_and(|kind| kind.is($tag)) {
                        let read = || {
                            let [$($field),*] = raw.pick([$($wire),*])?;
                            Some(Self::$kind { $($field: Member::read($field)?,)* })
                        };
                        return read().unwrap_or(Self::Other(raw));
                    }
                )*
                Self::Other(raw)
            }

            /// The value as JSON.
            #[must_use]
            pub fn to_json(&self) -> String {
                let mut object = Object::new();
                match self {
                    $(Self::$kind { $($field),* } => {
                        object.member("type", $tag);
                        $(Member::write($field, $wire, &mut object);)*
                    })*
                    Self::Other(raw) => return String::from(raw.as_str()),
                }
                object.finish()
            }
        }

        impl<'a> Member<'a> for $name<'a> {
            fn read(value: Option<Raw<'a>>) -> Option<Self> {
                value.map(Self::parse)
            }

            fn write(&self, name: &str, object: &mut Object) {
                object.member(name, &Raw::trusted(&self.to_json()));
            }
        }
    };
}

pub(crate) use {kinds, shape};
