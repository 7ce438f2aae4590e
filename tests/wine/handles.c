/* What the processes of a program hold: for each a line with its id, handles and threads.
 *
 *     handles.exe NAME.exe
 *
 * Built by the benchmark of idle daemons.
 */
#include <windows.h>
#include <tlhelp32.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

/* SYSTEM_EXTENDED_HANDLE_INFORMATION, as published in Microsoft's symbols. */
typedef struct {
    void *object;
    ULONG_PTR pid;
    ULONG_PTR handle;
    ULONG access;
    USHORT creator;
    USHORT type;
    ULONG attributes;
    ULONG reserved;
} Entry;

typedef struct {
    ULONG_PTR count;
    ULONG_PTR reserved;
    Entry entries[];
} Handles;

typedef LONG(NTAPI *Query)(int kind, void *buffer, ULONG size, ULONG *needed);

int wmain(int argc, wchar_t **argv)
{
    Query query = (Query)(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtQuerySystemInformation");
    ULONG size = 1 << 24, needed = 0;
    Handles *all = malloc(size);
    if (argc != 2 || !query || !all || query(64, all, size, &needed) < 0) {
        fprintf(stderr, "handles: usage, or the handles cannot be listed\n");
        return 2;
    }
    PROCESSENTRY32W entry = {.dwSize = sizeof entry};
    HANDLE processes = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    for (BOOL more = Process32FirstW(processes, &entry); more; more = Process32NextW(processes, &entry)) {
        if (_wcsicmp(entry.szExeFile, argv[1]))
            continue;
        unsigned count = 0;
        for (ULONG_PTR n = 0; n < all->count; n++)
            count += all->entries[n].pid == entry.th32ProcessID;
        printf("%lu %u %lu\n", entry.th32ProcessID, count, entry.cntThreads);
    }
    return 0;
}
