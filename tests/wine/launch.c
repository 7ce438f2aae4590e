/* Runs the rest of its command line and writes how that ended into the file CTR_LIKE_TEST_EXIT. While that is empty, nothing was run.
 *
 * What Linux says of a process under Wine is not its exit code: Wine's server kills one that is slow to go, after it has ended. */

#include <stdio.h>
#include <windows.h>

static wchar_t *rest(wchar_t *line)
{
    wchar_t end = *line == L'"' ? *line++ : L' ';
    while (*line && *line != end)
        line++;
    if (*line == L'"')
        line++;
    while (*line == L' ')
        line++;
    return line;
}

static void tell(const wchar_t *path, const char *text)
{
    DWORD written;
    HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return;
    WriteFile(file, text, (DWORD)strlen(text), &written, NULL);
    CloseHandle(file);
}

int wmain(void)
{
    static wchar_t line[32768];
    wchar_t path[1024];
    char text[64];
    DWORD code;
    STARTUPINFOW start = {sizeof start};
    PROCESS_INFORMATION process;

    if (!GetEnvironmentVariableW(L"CTR_LIKE_TEST_EXIT", path, 1024))
        return 121;
    SetEnvironmentVariableW(L"CTR_LIKE_TEST_EXIT", NULL);
    wcsncpy(line, rest(GetCommandLineW()), 32767);
    tell(path, "begun\n");
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
        fprintf(stderr, "cannot start %ls: error %lu\n", line, GetLastError());
        return 122;
    }
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &code);
    snprintf(text, sizeof text, "ended with %lu.\n", code);
    tell(path, text);
    return code != 0;
}
