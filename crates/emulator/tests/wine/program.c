/* The Windows program of these tests; its first argument says what it does. Compiled by the tests with mingw. */
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static BOOL WINAPI on_event(DWORD event)
{
    printf("event %lu\n", event);
    fflush(stdout);
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) {
        ExitProcess(40 + event);
    }
    return TRUE;
}

static BOOL WINAPI on_event_stay(DWORD event)
{
    printf("event %lu\n", event);
    fflush(stdout);
    Sleep(INFINITE);
    return TRUE;
}

static void start(const char *self, const char *what)
{
    char line[600];
    STARTUPINFOA startup = { sizeof startup };
    PROCESS_INFORMATION started;
    snprintf(line, sizeof line, "\"%s\" %s", self, what);
    if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &started)) {
        printf("error %lu\n", GetLastError());
        exit(1);
    }
}

static void size(void)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    if (GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info)) {
        printf("size %dx%d;\n", info.srWindow.Bottom - info.srWindow.Top + 1, info.srWindow.Right - info.srWindow.Left + 1);
    } else {
        printf("no console %lu;\n", GetLastError());
    }
    fflush(stdout);
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "exit")) {
        ExitProcess(strtoul(words[2], NULL, 0));
    } else if (!strcmp(what, "print")) {
        fputs(words[2], stdout);
    } else if (!strcmp(what, "line")) {
        fputs(GetCommandLineA(), stdout);
    } else if (!strcmp(what, "args")) {
        for (int i = 2; i < count; i++) {
            printf("[%s]", words[i]);
        }
    } else if (!strcmp(what, "get")) {
        for (int i = 2; i < count; i++) {
            char text[1024] = "(none)";
            SetLastError(0);
            DWORD length = GetEnvironmentVariableA(words[i], text, sizeof text);
            if (length == 0) {
                strcpy(text, GetLastError() == ERROR_ENVVAR_NOT_FOUND ? "(none)" : "");
            }
            printf("%s\n", text);
        }
    } else if (!strcmp(what, "names")) {
        char text[256];
        DWORD length = sizeof text;
        GetComputerNameA(text, &length);
        printf("%s\n", text);
        length = sizeof text;
        GetComputerNameExA(ComputerNameDnsHostname, text, &length);
        printf("%s\n", text);
        length = sizeof text;
        GetUserNameA(text, &length);
        printf("%s\n", text);
    } else if (!strcmp(what, "cwd")) {
        char text[MAX_PATH];
        GetCurrentDirectoryA(sizeof text, text);
        fputs(text, stdout);
    } else if (!strcmp(what, "cat")) {
        char bytes[4096];
        int got;
        _setmode(0, _O_BINARY);
        _setmode(1, _O_BINARY);
        while ((got = _read(0, bytes, sizeof bytes)) > 0) {
            _write(1, bytes, got);
        }
    } else if (!strcmp(what, "both")) {
        fputs("out", stdout);
        fputs("err", stderr);
    } else if (!strcmp(what, "sleep")) {
        printf("ready\n");
        fflush(stdout);
        Sleep(INFINITE);
    } else if (!strcmp(what, "handle")) {
        SetConsoleCtrlHandler(on_event, TRUE);
        printf("ready\n");
        fflush(stdout);
        Sleep(INFINITE);
    } else if (!strcmp(what, "stay")) {
        SetConsoleCtrlHandler(on_event_stay, TRUE);
        printf("ready\n");
        fflush(stdout);
        Sleep(INFINITE);
    } else if (!strcmp(what, "tree")) {
        start(words[0], "handle");
        start(words[0], "sleep");
        Sleep(INFINITE);
    } else if (!strcmp(what, "orphan")) {
        start(words[0], "sleep");
    } else if (!strcmp(what, "write")) {
        FILE *file = fopen(words[2], "wb");
        if (!file) {
            printf("error %lu", GetLastError());
            return 1;
        }
        fputs(words[3], file);
        fclose(file);
    } else if (!strcmp(what, "read")) {
        char bytes[4096];
        FILE *file = fopen(words[2], "rb");
        if (!file) {
            printf("error %lu", GetLastError());
            return 1;
        }
        fwrite(bytes, 1, fread(bytes, 1, sizeof bytes, file), stdout);
    } else if (!strcmp(what, "delete")) {
        if (!DeleteFileA(words[2])) {
            printf("error %lu", GetLastError());
            return 1;
        }
    } else if (!strcmp(what, "registry")) {
        char text[256] = "";
        DWORD length = sizeof text;
        LSTATUS status = RegGetValueA(HKEY_LOCAL_MACHINE, words[2], words[3], RRF_RT_ANY, NULL, text, &length);
        printf("%ld %s", status, text);
    } else if (!strcmp(what, "size")) {
        size();
    } else if (!strcmp(what, "sizes")) {
        char line[64];
        size();
        while (fgets(line, sizeof line, stdin)) {
            size();
        }
    } else if (!strcmp(what, "eat")) {
        /* Megabytes, each page touched. */
        for (unsigned long left = strtoul(words[2], NULL, 0); left > 0; left--) {
            char *block = VirtualAlloc(NULL, 1 << 20, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
            if (!block) {
                return 3;
            }
            memset(block, 1, 1 << 20);
        }
        printf("eaten");
    } else if (!strcmp(what, "spin")) {
        ULONGLONG until = GetTickCount64() + strtoul(words[2], NULL, 0);
        while (GetTickCount64() < until) {
        }
    } else {
        printf("what?");
        return 2;
    }
    fflush(stdout);
    return 0;
}
