/* Does one thing wrong with computestorage.dll or vmcompute.dll, which its first argument names, in the folder that its second
 * one names. Compiled by the suite `doubles` with mingw. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>

typedef struct {
    int flavour;
    PCWSTR home;
} DRIVER;

typedef struct {
    GUID id;
    DWORD flags;
    PCWSTR path;
} PARENT;

static HRESULT (WINAPI *Import)(PCWSTR, PCWSTR, PCWSTR);
static HRESULT (WINAPI *Destroy)(PCWSTR);
static HRESULT (WINAPI *ToGuid)(PCWSTR, GUID *);
static HRESULT (WINAPI *Base)(PCWSTR);
static HRESULT (WINAPI *Utility)(PCWSTR);
static HRESULT (WINAPI *Create)(DRIVER *, PCWSTR, void *, PARENT *, DWORD);
static HRESULT (WINAPI *Expand)(DRIVER *, PCWSTR, ULONGLONG);
static HRESULT (WINAPI *Activate)(DRIVER *, PCWSTR);
static HRESULT (WINAPI *Deactivate)(DRIVER *, PCWSTR);
static HRESULT (WINAPI *Prepare)(DRIVER *, PCWSTR, PARENT *, DWORD);
static HRESULT (WINAPI *Unprepare)(DRIVER *, PCWSTR);
static HRESULT (WINAPI *MountPath)(DRIVER *, PCWSTR, size_t *, WCHAR *);
static HRESULT (WINAPI *Export)(DRIVER *, PCWSTR, PCWSTR, PARENT *, DWORD);
static HRESULT (WINAPI *Grant)(PCWSTR, PCWSTR);

static DRIVER driver = {1, L""};
static WCHAR root[MAX_PATH];
static PARENT l1, l2, chain[2];
static PCWSTR scratch;

/* A path in the folder; never freed. */
static PCWSTR at(PCWSTR name)
{
    WCHAR *path = malloc(1024 * sizeof(WCHAR));
    _snwprintf(path, 1024, L"%ls\\%ls", root, name);
    return path;
}

static void put(PCWSTR name, const void *bytes, DWORD size)
{
    DWORD done;
    HANDLE file = CreateFileW(at(name), GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    WriteFile(file, bytes, size, &done, NULL);
    CloseHandle(file);
}

/* A directory with those that lead to it. */
static void folder(PCWSTR name)
{
    WCHAR path[1024], *next = path;
    wcscpy(path, name);
    while ((next = wcschr(next, '\\'))) {
        *next = 0;
        CreateDirectoryW(at(path), NULL);
        *next++ = '\\';
    }
    CreateDirectoryW(at(name), NULL);
}

/* A file in transport form with one stream. */
static void object(PCWSTR name, DWORD attributes, DWORD kind, DWORD size, const char *content)
{
    char bytes[256] = {0};
    memcpy(bytes, &attributes, 4);
    memcpy(bytes + 4, &kind, 4);
    memcpy(bytes + 12, &size, 4);
    memcpy(bytes + 24, content, strlen(content));
    put(name, bytes, 24 + strlen(content));
}

static BOOL privileges(BOOL on)
{
    const char *names[] = {"SeBackupPrivilege", "SeRestorePrivilege"};
    TOKEN_PRIVILEGES wanted = {1};
    HANDLE token;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token)) {
        return FALSE;
    }
    for (int i = 0; i < 2; i++) {
        LookupPrivilegeValueA(NULL, names[i], &wanted.Privileges[0].Luid);
        wanted.Privileges[0].Attributes = on ? SE_PRIVILEGE_ENABLED : 0;
        AdjustTokenPrivileges(token, FALSE, &wanted, 0, NULL, NULL);
    }
    return CloseHandle(token);
}

static PARENT parent(PCWSTR name)
{
    PARENT parent = {{0}, 0, at(name)};
    ToGuid(name, &parent.id);
    return parent;
}

static void base(PCWSTR name)
{
    PCWSTR hives[] = {L"DEFAULT", L"SAM", L"SECURITY", L"SOFTWARE", L"SYSTEM"};
    WCHAR path[1024];
    _snwprintf(path, 1024, L"%ls\\Files\\Windows\\System32\\config", name);
    folder(path);
    for (int i = 0; i < 5; i++) {
        _snwprintf(path, 1024, L"%ls\\Files\\Windows\\System32\\config\\%ls", name, hives[i]);
        put(path, "hive", 4);
    }
    Base(at(name));
}

/* A LayerData document of these parents. */
static PCWSTR data(int count, const PARENT *parents)
{
    WCHAR *text = malloc(4096 * sizeof(WCHAR)), *end = text;
    end += swprintf(end, 256, L"{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"Layers\":[");
    for (int i = 0; i < count; i++) {
        const GUID *id = &parents[i].id;
        end += swprintf(end, 256,
            L"%ls{\"Id\":\"%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x\",\"Path\":\"", i ? L"," : L"", id->Data1,
            id->Data2, id->Data3, id->Data4[0], id->Data4[1], id->Data4[2], id->Data4[3], id->Data4[4], id->Data4[5],
            id->Data4[6], id->Data4[7]);
        for (PCWSTR unit = parents[i].path; *unit; unit++) {
            if (*unit == '\\') {
                *end++ = '\\';
            }
            *end++ = *unit;
        }
        end += swprintf(end, 256, L"\"}");
    }
    wcscpy(end, L"]}");
    return text;
}

/* Imports the folder `source` as a layer on l1. */
static HRESULT import(PCWSTR name)
{
    folder(name);
    return Import(at(name), at(L"source"), data(1, &l1));
}

/* l2 on l1, and a scratch on both. */
static HRESULT world(void)
{
    HRESULT code;
    base(L"l1");
    l1 = parent(L"l1");
    folder(L"source\\Files\\app");
    object(L"source\\Files\\a.txt", 0x20, 1, 3, "new");
    /* A descriptor that is self-relative, and has nothing. */
    char directory[44] = {0x10, 0, 0, 0, 3};
    directory[12] = 20;
    directory[24] = 1;
    directory[27] = (char)0x80;
    put(L"source\\Files\\app.$wcidirs$", directory, sizeof directory);
    if ((code = import(L"l2"))) {
        return code;
    }
    l2 = parent(L"l2");
    chain[0] = l2;
    chain[1] = l1;
    scratch = at(L"scratch");
    return Create(&driver, scratch, NULL, chain, 2);
}

static void activated(void)
{
    Activate(&driver, scratch);
}

static void prepared(void)
{
    Activate(&driver, scratch);
    Prepare(&driver, scratch, chain, 2);
}

static void ended(void)
{
    Unprepare(&driver, scratch);
    Deactivate(&driver, scratch);
}

/* What is done right. */
static HRESULT nothing(void)
{
    HRESULT code;
    size_t length = 0;
    WCHAR path[1024];
    prepared();
    if ((code = MountPath(&driver, scratch, &length, NULL)) || (code = MountPath(&driver, scratch, &length, path))) {
        return code;
    }
    if (wcslen(path) + 1 != length) {
        return E_FAIL;
    }
    Unprepare(&driver, scratch);
    folder(L"export");
    if ((code = Export(&driver, scratch, at(L"export"), chain, 2)) || (code = Deactivate(&driver, scratch))) {
        return code;
    }
    if ((code = Expand(&driver, scratch, 40ULL << 30)) || (code = Destroy(scratch)) || (code = Destroy(l2.path))) {
        return code;
    }
    return Destroy(l1.path);
}

static DWORD WINAPI prepare_thread(void *unused)
{
    Prepare(&driver, scratch, chain, 2);
    return 0;
}

/* Whether a file of the reports has a line about it. */
static BOOL reported(const char *line)
{
    char pattern[MAX_PATH], path[MAX_PATH], text[4096];
    WIN32_FIND_DATAA found;
    BOOL there = FALSE;
    snprintf(pattern, sizeof pattern, "%s\\*.report", getenv("CTR_LIKE_DOUBLE_REPORTS"));
    HANDLE search = FindFirstFileA(pattern, &found);
    if (search == INVALID_HANDLE_VALUE) {
        return FALSE;
    }
    do {
        snprintf(path, sizeof path, "%s\\%s", getenv("CTR_LIKE_DOUBLE_REPORTS"), found.cFileName);
        FILE *file = fopen(path, "rb");
        if (file) {
            text[fread(text, 1, sizeof text - 1, file)] = 0;
            there = there || strstr(text, line);
            fclose(file);
        }
    } while (FindNextFileA(search, &found));
    FindClose(search);
    return there;
}

static void order(const char *line)
{
    FILE *file = fopen(getenv("CTR_LIKE_LAYER_ORDERS"), "wb");
    fputs(line, file);
    fclose(file);
}

/* Both calls hang until the double has noticed. */
static void two_threads(void)
{
    HANDLE threads[2];
    activated();
    order("PrepareLayer=hang\n");
    for (int i = 0; i < 2; i++) {
        threads[i] = CreateThread(NULL, 0, prepare_thread, NULL, 0, NULL);
    }
    while (!reported("PrepareLayer: called while another thread was in it")) {
        SwitchToThread();
    }
    order("");
    WaitForMultipleObjects(2, threads, TRUE, INFINITE);
}

static void wrong_driver(const char *what)
{
    DRIVER other = driver;
    if (!strcmp(what, "flavour")) {
        other.flavour = 0;
    } else if (!strcmp(what, "null home")) {
        other.home = NULL;
    } else {
        other.home = L"C:\\";
    }
    Activate(&other, scratch);
}

static void wrong_chain(const char *what)
{
    PARENT wrong[2] = {l2, l1};
    if (!strcmp(what, "parent flags")) {
        wrong[0].flags = 0x80000000;
    } else if (!strcmp(what, "parent id")) {
        wrong[1].id.Data1++;
    } else if (!strcmp(what, "parent path")) {
        wrong[1].path = NULL;
    } else if (!strcmp(what, "parent order")) {
        wrong[0] = l1;
        wrong[1] = l2;
    } else if (!strcmp(what, "parent not processed")) {
        folder(L"raw");
        wrong[0] = parent(L"raw");
    }
    Create(&driver, at(L"other"), NULL, wrong, 2);
}

/* Imports a source with one thing wrong. */
static void wrong_source(const char *what)
{
    if (!strcmp(what, "stream kind")) {
        object(L"source\\Files\\a.txt", 0x20, 77, 3, "new");
    } else if (!strcmp(what, "stream size")) {
        object(L"source\\Files\\a.txt", 0x20, 1, 300, "new");
    } else if (!strcmp(what, "stream cut off")) {
        put(L"source\\Files\\a.txt", " \0\0\0\1", 9);
    } else if (!strcmp(what, "stream descriptor")) {
        object(L"source\\Files\\a.txt", 0x20, 3, 3, "new");
    } else if (!strcmp(what, "stream name")) {
        object(L"source\\Files\\a.txt", 0x20, 4, 3, "new");
    } else if (!strcmp(what, "file attributes")) {
        object(L"source\\Files\\a.txt", 0x48, 1, 3, "new");
    } else if (!strcmp(what, "file as directory")) {
        object(L"source\\Files\\a.txt", 0x10, 1, 3, "new");
    } else if (!strcmp(what, "link without target")) {
        object(L"source\\Files\\a.txt", 0x400, 1, 3, "new");
    } else if (!strcmp(what, "directory without metadata")) {
        DeleteFileW(at(L"source\\Files\\app.$wcidirs$"));
    } else if (!strcmp(what, "metadata without directory")) {
        RemoveDirectoryW(at(L"source\\Files\\app"));
    } else if (!strcmp(what, "tombstones")) {
        put(L"source\\tombstones.txt", "", 0);
    } else if (!strcmp(what, "hive name")) {
        folder(L"source\\Hives");
        put(L"source\\Hives\\System_Base", "regf", 4);
    } else if (!strcmp(what, "hive not raw")) {
        folder(L"source\\Hives");
        object(L"source\\Hives\\System_Delta", 0x20, 1, 4, "regf");
    } else {
        ExitProcess(2);
    }
    import(L"l3");
}

static void wrong_call(const char *what)
{
    size_t length = 3;
    WCHAR path[3];
    GUID id;
    if (!strcmp(what, "null driver")) {
        Activate(NULL, scratch);
    } else if (!strcmp(what, "flavour") || !strcmp(what, "null home") || !strcmp(what, "home")) {
        wrong_driver(what);
    } else if (!strcmp(what, "null path")) {
        Activate(&driver, NULL);
    } else if (!strcmp(what, "empty path")) {
        Destroy(L"");
    } else if (!strcmp(what, "relative path")) {
        Activate(&driver, L"layers\\scratch");
    } else if (!strcmp(what, "slash")) {
        Activate(&driver, L"C:\\layers/scratch");
    } else if (!strcmp(what, "surrogate")) {
        Destroy(L"C:\\layers\\\xD800");
    } else if (!strcmp(what, "parent")) {
        Create(&driver, at(L"other"), &length, chain, 2);
    } else if (!strcmp(what, "count")) {
        Create(&driver, at(L"other"), NULL, NULL, 2);
    } else if (!strcmp(what, "no parents")) {
        Create(&driver, at(L"other"), NULL, NULL, 0);
    } else if (!strcmp(what, "incomplete")) {
        Create(&driver, at(L"other"), NULL, chain, 1);
    } else if (!strncmp(what, "parent ", 7)) {
        wrong_chain(what);
    } else if (!strcmp(what, "created twice")) {
        Create(&driver, scratch, NULL, chain, 2);
    } else if (!strcmp(what, "other parents")) {
        activated();
        Prepare(&driver, scratch, &l1, 1);
    } else if (!strcmp(what, "not activated")) {
        Prepare(&driver, scratch, chain, 2);
    } else if (!strcmp(what, "activated in a machine")) {
        WCHAR disk[MAX_PATH];
        HANDLE machine;
        swprintf(disk, MAX_PATH, L"%ls\\sandbox.vhdx", scratch);
        machine = CreateFileW(disk, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
        activated();
        CloseHandle(machine);
    } else if (!strcmp(what, "prepared twice")) {
        prepared();
        Prepare(&driver, scratch, chain, 2);
    } else if (!strcmp(what, "two threads")) {
        two_threads();
    } else if (!strcmp(what, "mount path of nothing")) {
        MountPath(&driver, scratch, &length, NULL);
    } else if (!strcmp(what, "no length")) {
        prepared();
        MountPath(&driver, scratch, NULL, NULL);
    } else if (!strcmp(what, "short buffer")) {
        prepared();
        MountPath(&driver, scratch, &length, path);
    } else if (!strcmp(what, "deactivated too early")) {
        prepared();
        Deactivate(&driver, scratch);
    } else if (!strcmp(what, "exported too early")) {
        prepared();
        folder(L"export");
        Export(&driver, scratch, at(L"export"), chain, 2);
    } else if (!strcmp(what, "exported unused")) {
        activated();
        folder(L"export");
        Export(&driver, scratch, at(L"export"), chain, 2);
    } else if (!strcmp(what, "exported inactive")) {
        folder(L"export");
        Export(&driver, scratch, at(L"export"), chain, 2);
    } else if (!strcmp(what, "exported to nowhere")) {
        prepared();
        Unprepare(&driver, scratch);
        Export(&driver, scratch, at(L"export"), chain, 2);
    } else if (!strcmp(what, "exported twice")) {
        prepared();
        Unprepare(&driver, scratch);
        folder(L"export");
        Export(&driver, scratch, at(L"export"), chain, 2);
        Export(&driver, scratch, at(L"export"), chain, 2);
    } else if (!strcmp(what, "processed twice")) {
        Base(at(L"l1"));
    } else if (!strcmp(what, "processed nothing")) {
        Base(at(L"nowhere"));
    } else if (!strcmp(what, "utility too early")) {
        folder(L"raw\\UtilityVM\\Files");
        Utility(at(L"raw\\UtilityVM"));
    } else if (!strcmp(what, "utility twice")) {
        folder(L"l1\\UtilityVM\\Files");
        Utility(at(L"l1\\UtilityVM"));
        Utility(at(L"l1\\UtilityVM"));
    } else if (!strcmp(what, "destroyed parent")) {
        Destroy(l1.path);
    } else if (!strcmp(what, "destroyed disk")) {
        Destroy(L"C:\\windows");
    } else if (!strcmp(what, "no privilege")) {
        privileges(FALSE);
        import(L"l3");
    } else if (!strcmp(what, "schema version")) {
        Import(at(L"l2"), at(L"source"), L"{\"SchemaVersion\":{\"Major\":1,\"Minor\":0},\"Layers\":[]}");
    } else if (!strcmp(what, "member")) {
        Import(at(L"l2"), at(L"source"), L"{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"Colour\":1,\"Layers\":[]}");
    } else if (!strcmp(what, "null layer data")) {
        Import(at(L"l2"), at(L"source"), NULL);
    } else if (!strcmp(what, "imported twice")) {
        import(L"l2");
    } else if (!strcmp(what, "imported to nowhere")) {
        Import(at(L"nowhere"), at(L"source"), data(1, &l1));
    } else if (!strcmp(what, "imported over files")) {
        folder(L"l3\\Files");
        import(L"l3");
    } else if (!strcmp(what, "path as name")) {
        ToGuid(l1.path, &id);
    } else if (!strcmp(what, "null machine")) {
        Grant(NULL, scratch);
    } else if (!strcmp(what, "no file")) {
        Grant(L"vm", at(L"nowhere"));
    } else if (!strcmp(what, "order")) {
        order("ActivateLayer=nonsense\n");
        activated();
        order("");
    } else {
        wrong_source(what);
    }
}

int main(int count, char **words)
{
    HMODULE storage = LoadLibraryExA("computestorage.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    HMODULE compute = LoadLibraryExA("vmcompute.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (count < 3 || !storage || !compute) {
        return 3;
    }
#define RESOLVE(variable, dll, name) \
    if (!(variable = (void *)GetProcAddress(dll, name))) { \
        return 4; \
    }
    RESOLVE(Import, storage, "HcsImportLayer")
    RESOLVE(Destroy, storage, "HcsDestroyLayer")
    RESOLVE(ToGuid, compute, "NameToGuid")
    RESOLVE(Base, compute, "ProcessBaseImage")
    RESOLVE(Utility, compute, "ProcessUtilityImage")
    RESOLVE(Create, compute, "CreateSandboxLayer")
    RESOLVE(Expand, compute, "ExpandSandboxSize")
    RESOLVE(Activate, compute, "ActivateLayer")
    RESOLVE(Deactivate, compute, "DeactivateLayer")
    RESOLVE(Prepare, compute, "PrepareLayer")
    RESOLVE(Unprepare, compute, "UnprepareLayer")
    RESOLVE(MountPath, compute, "GetLayerMountPath")
    RESOLVE(Export, compute, "ExportLayer")
    RESOLVE(Grant, compute, "GrantVmAccess")

    MultiByteToWideChar(CP_UTF8, 0, words[2], -1, root, MAX_PATH);
    CreateDirectoryW(root, NULL);
    if (!privileges(TRUE) || world()) {
        return 5;
    }
    if (!strcmp(words[1], "nothing")) {
        return nothing() ? 6 : 0;
    }
    wrong_call(words[1]);
    ended();
    return 0;
}
