//! How a walk ended. A stack cut short is a result, and says so.

macro_rules! outcomes {
    ($($(#[$meta:meta])* $name:ident = $value:literal, $marker:literal;)*) => {
        /// How a walk of frames ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Outcome { $($(#[$meta])* $name = $value,)* }

        impl Outcome {
            /// The outcome a record carries; `None` for a number this agent does not know.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($value => Some(Self::$name),)* _ => None }
            }

            /// The marker frame shown at the cut; empty if nothing is missing.
            pub fn marker(self) -> &'static str {
                match self { $(Self::$name => $marker,)* }
            }
        }
    };
}

outcomes! {
    /// The outermost frame was reached.
    Complete = 0, "";
    /// The budget of frames was used up: outer frames are missing.
    Truncated = 1, "[truncated]";
    /// The process has no known interpreter: there is nothing to walk.
    NotPython = 2, "";
    /// No thread state of any interpreter belongs to this thread: it is not a Python thread.
    NoThreadState = 3, "";
    /// The thread has a state and no frame: it runs no Python code now.
    NoFrame = 4, "";
    /// Memory that should hold a frame, a code object or a thread state could not be read.
    Unreadable = 5, "[unreadable]";
    /// Something that should be a code object is not one.
    NotCode = 6, "[not a code object]";
    /// More thread states exist than are searched.
    TooManyThreads = 7, "[too many threads]";
    /// The frame-pointer chain ended before the outermost frame: code built without frame pointers.
    BrokenChain = 8, "[no frame pointer]";
    /// Nothing proves which thread state the thread runs in.
    StateUnknown = 9, "[thread state unknown]";
}
