//! The one way to declare a type that crosses the border.

/// Declares plain-old-data records shared by the kernel programs and the agent.
///
/// Each gets `repr(C)`, `Copy`, bytemuck's `Pod` (which refuses padding and invalid bit patterns at
/// compile time), `aya::Pod` for the agent, and an assertion of its size in bytes: both sides are
/// compiled from this one definition, so a size that moves is a change of the border.
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        $name:ident: $size:literal bytes {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() == $size);

        // SAFETY: bytemuck's derive above has checked, field by field, that every bit pattern is
        // valid and that there is no padding, which is all that `aya::Pod` asks.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    )*};
}

pub(crate) use record;
