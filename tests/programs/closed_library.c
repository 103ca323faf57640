/* Uses CPU in a library of its own, which its user deletes while it is mapped. */

#include <stdint.h>

uint64_t spin_in_library(uint64_t rounds)
{
    volatile uint64_t sum = 0;
    for (uint64_t round = 0; round < rounds; round++)
        sum += round * round;
    return sum;
}
