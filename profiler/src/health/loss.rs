//! The names of what the agent counts.

use super::table::table;

macro_rules! losses {
    ($(
        $name:literal, $unit:literal, by $attribute:literal: $words:literal {
            $(kernel $counter:ident $($kernel_value:literal: $kernel_words:literal)?;)*
            $(agent $loss:ident $($value:literal: $row_words:literal)?;)*
        }
    )*) => {
        /// What the agent counts itself: mostly what it could not keep, or kept with less than it should have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Loss { $($(
            #[doc = concat!($words $(, " ", $row_words)?)]
            $loss,
        )*)* }

        impl Loss {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$($(Self::$loss,)*)*];
        }
    };
}

table!(losses);
