/* bcryptprimitives.dll for Wine before 9, which lacks it: Rust's standard library takes its random numbers from ProcessPrng.
 * Windows and newer Wine have the real one. RtlGenRandom is exported as SystemFunction036. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)
{
    while (length > 0) {
        ULONG step = length > 0x40000000 ? 0x40000000 : (ULONG)length;
        if (!SystemFunction036(buffer, step)) {
            return FALSE;
        }
        buffer += step;
        length -= step;
    }
    return TRUE;
}
