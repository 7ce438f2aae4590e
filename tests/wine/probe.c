/* What the tests of Windows containers run: one small program that says or does exactly one thing.
 *
 * Built by scripts/make-images with Debian's mingw-w64 into the image `windows-tools`.
 */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <io.h>
#include <fcntl.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    return 1;
}

static void say(const wchar_t *text)
{
    char bytes[8192];
    WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, sizeof bytes, NULL, NULL);
    puts(bytes);
}

static volatile LONG told;

static BOOL WINAPI on_control(DWORD type)
{
    static const char *names[] = {"CTRL_C", "CTRL_BREAK", "CTRL_CLOSE", "", "", "CTRL_LOGOFF", "CTRL_SHUTDOWN"};
    printf("%s\n", type < 7 ? names[type] : "?");
    fflush(stdout);
    told = 1;
    return TRUE;
}

/* Copies standard input to standard output, byte by byte as it is. */
static int cat(void)
{
    char piece[65536];
    int count;
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    while ((count = _read(_fileno(stdin), piece, sizeof piece)) > 0)
        if (_write(_fileno(stdout), piece, count) != count)
            return 1;
    return count < 0;
}

static int write_file(const wchar_t *path, const wchar_t *text)
{
    char bytes[4096];
    DWORD count = WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, sizeof bytes, NULL, NULL) - 1;
    HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return fail("create");
    BOOL done = WriteFile(file, bytes, count, &count, NULL);
    CloseHandle(file);
    return done ? 0 : fail("write");
}

static int read_file(const wchar_t *path)
{
    char bytes[4096];
    DWORD count = 0;
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return fail("open");
    _setmode(_fileno(stdout), _O_BINARY);
    while (ReadFile(file, bytes, sizeof bytes, &count, NULL) && count > 0)
        fwrite(bytes, 1, count, stdout);
    CloseHandle(file);
    return 0;
}

static int list(const wchar_t *pattern)
{
    WIN32_FIND_DATAW found;
    HANDLE search = FindFirstFileW(pattern, &found);
    if (search == INVALID_HANDLE_VALUE)
        return fail("find");
    do
        say(found.cFileName);
    while (FindNextFileW(search, &found));
    FindClose(search);
    return 0;
}

/* Many small files, for the benchmark of unpacking and committing. */
static int fill(const wchar_t *folder, int count)
{
    wchar_t path[MAX_PATH];
    CreateDirectoryW(folder, NULL);
    for (int n = 0; n < count; n++) {
        if (n % 500 == 0) {
            swprintf(path, MAX_PATH, L"%ls\\d%d", folder, n / 500);
            CreateDirectoryW(path, NULL);
        }
        swprintf(path, MAX_PATH, L"%ls\\d%d\\f%d.txt", folder, n / 500, n);
        if (write_file(path, L"a small file\n"))
            return 1;
    }
    return 0;
}

static int start_child(const wchar_t *self)
{
    wchar_t line[MAX_PATH + 16];
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION child;
    swprintf(line, MAX_PATH + 16, L"\"%ls\" sleep 600", self);
    if (!CreateProcessW(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &child))
        return fail("CreateProcess");
    printf("child %lu\n", child.dwProcessId);
    fflush(stdout);
    WaitForSingleObject(child.hProcess, INFINITE);
    return 0;
}

static void say_size(void)
{
    CONSOLE_SCREEN_BUFFER_INFO info = {0};
    GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info);
    printf("size %dx%d;\n", info.srWindow.Right - info.srWindow.Left + 1, info.srWindow.Bottom - info.srWindow.Top + 1);
    fflush(stdout);
}

/* Says what happens at its console, until somebody types an exclamation mark. */
static int keys(void)
{
    HANDLE input = GetStdHandle(STD_INPUT_HANDLE);
    INPUT_RECORD record;
    DWORD count;
    SetConsoleCtrlHandler(on_control, TRUE);
    if (!SetConsoleMode(input, ENABLE_PROCESSED_INPUT | ENABLE_WINDOW_INPUT))
        return fail("SetConsoleMode");
    say_size();
    while (ReadConsoleInputW(input, &record, 1, &count)) {
        WCHAR unit = record.Event.KeyEvent.uChar.UnicodeChar;
        if (record.EventType == WINDOW_BUFFER_SIZE_EVENT)
            say_size();
        if (record.EventType != KEY_EVENT || !record.Event.KeyEvent.bKeyDown || !unit)
            continue;
        if (unit == L'!')
            return 9;
        printf("[%x]\n", unit);
        fflush(stdout);
    }
    return fail("ReadConsoleInput");
}

int wmain(int argc, wchar_t **argv)
{
    const wchar_t *verb = argc > 1 ? argv[1] : L"";
    wchar_t text[4096];
    DWORD size = 4096;
    /* One write per line, also to a console. */
    setvbuf(stdout, NULL, _IOFBF, 4096);
    if (!wcscmp(verb, L"exit") && argc == 3)
        ExitProcess(wcstoul(argv[2], NULL, 0));
    if (!wcscmp(verb, L"args")) {
        for (int n = 2; n < argc; n++)
            say(argv[n]);
        return 0;
    }
    if (!wcscmp(verb, L"line")) {
        say(GetCommandLineW());
        return 0;
    }
    if (!wcscmp(verb, L"env") && argc == 3) {
        if (!GetEnvironmentVariableW(argv[2], text, 4096))
            return fail("GetEnvironmentVariable");
        say(text);
        return 0;
    }
    if (!wcscmp(verb, L"cwd") && GetCurrentDirectoryW(4096, text)) {
        say(text);
        return 0;
    }
    if (!wcscmp(verb, L"host") && GetComputerNameExW(ComputerNamePhysicalDnsHostname, text, &size)) {
        say(text);
        return 0;
    }
    if (!wcscmp(verb, L"user") && GetUserNameW(text, &size)) {
        say(text);
        return 0;
    }
    if (!wcscmp(verb, L"cat"))
        return cat();
    if (!wcscmp(verb, L"both")) {
        puts("to output");
        fputs("to errors\n", stderr);
        return 0;
    }
    if (!wcscmp(verb, L"write") && argc == 4)
        return write_file(argv[2], argv[3]);
    if (!wcscmp(verb, L"read") && argc == 3)
        return read_file(argv[2]);
    if (!wcscmp(verb, L"list") && argc == 3)
        return list(argv[2]);
    if (!wcscmp(verb, L"mkdir") && argc == 3)
        return CreateDirectoryW(argv[2], NULL) ? 0 : fail("CreateDirectory");
    if (!wcscmp(verb, L"delete") && argc == 3)
        return DeleteFileW(argv[2]) ? 0 : fail("DeleteFile");
    if (!wcscmp(verb, L"rmdir") && argc == 3)
        return RemoveDirectoryW(argv[2]) ? 0 : fail("RemoveDirectory");
    if (!wcscmp(verb, L"move") && argc == 4)
        return MoveFileW(argv[2], argv[3]) ? 0 : fail("MoveFile");
    if (!wcscmp(verb, L"attributes") && argc == 3) {
        printf("0x%lx\n", GetFileAttributesW(argv[2]));
        return 0;
    }
    if (!wcscmp(verb, L"fill") && argc == 4)
        return fill(argv[2], _wtoi(argv[3]));
    if (!wcscmp(verb, L"sleep") && argc == 3) {
        Sleep(_wtoi(argv[2]) * 1000);
        return 0;
    }
    if (!wcscmp(verb, L"control")) {
        SetConsoleCtrlHandler(on_control, TRUE);
        puts("ready");
        fflush(stdout);
        for (int n = 0; n < 360000 && !told; n++)
            Sleep(10);
        return told ? 42 : 1;
    }
    if (!wcscmp(verb, L"tree"))
        return start_child(argv[0]);
    if (!wcscmp(verb, L"memory") && argc == 3) {
        size_t bytes = (size_t)_wtoi(argv[2]) << 20;
        volatile char *block = malloc(bytes);
        if (!block)
            return fail("malloc");
        for (size_t at = 0; at < bytes; at += 4096)
            block[at] = 1;
        puts("touched");
        fflush(stdout);
        Sleep(600000);
        return 0;
    }
    if (!wcscmp(verb, L"busy")) {
        puts("ready");
        fflush(stdout);
        for (volatile int n = 0;; n++)
            ;
    }
    if (!wcscmp(verb, L"console")) {
        CONSOLE_SCREEN_BUFFER_INFO info;
        if (!GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info))
            return fail("GetConsoleScreenBufferInfo");
        printf("%dx%d\n", info.srWindow.Right - info.srWindow.Left + 1, info.srWindow.Bottom - info.srWindow.Top + 1);
        return 0;
    }
    if (!wcscmp(verb, L"keys"))
        return keys();
    fprintf(stderr, "probe: what?\n");
    return 64;
}
