//! The CPython frame walk.
