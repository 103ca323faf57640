//! Which threads have made which thread states.

/// Places for threads that have made a state.
const MAKERS: usize = 128;

/// Threads that have made a state of an interpreter, as far as there is room. It forgets some, and never confuses two.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Makers {
    places: [u64; MAKERS],
}

impl Default for Makers {
    fn default() -> Self {
        Self {
            places: [0; MAKERS],
        }
    }
}

impl Makers {
    #[inline(always)]
    pub(super) fn forget(&mut self) {
        self.places = [0; MAKERS];
    }

    /// Whether the thread has made another state of the interpreter. Remembers that it has made this one.
    #[inline(always)]
    pub(super) fn made_before(&mut self, maker: u64, interpreter: u64) -> bool {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        // Addresses have 47 bits: two pairs have one key only if an interpreter lies where the other's thread does.
        let key = maker ^ interpreter.rotate_left(32);
        // The shift leaves an index below the number of places, which the verifier sees.
        let index = (key.wrapping_mul(MULTIPLIER) >> (u64::BITS - MAKERS.ilog2())) as usize;
        let Some(place) = self.places.get_mut(index) else {
            return false;
        };
        let is_known = *place == key;
        *place = key;
        is_known
    }
}
