/* A program at a console, and somebody who sits there: what the doubles give a process with EmulateConsole, and what the tests put
 * between a terminal and the command line.
 *
 *   terminal PORT at COMMAND LINE                      at the console that there is
 *   terminal PORT new COLUMNS LINES COMMAND LINE       at a pseudo console whose other side are our standard streams
 *
 * Whoever listens at PORT of 127.0.0.1 is asked for a line, `go`, first by the second form and then by the first, which is also
 * what runs in the pseudo console. The first says `started PID` or `failed CODE`, waits for `run`, and obeys, one line each:
 * `resize COLUMNS LINES`, `key UNIT` (a character of 16 bits, pressed and let go), `modes`. Each has an answer of one line. The
 * last line is `ended CODE`.
 *
 * Sizes and some keys go this way because Wine 8's ResizePseudoConsole does nothing, its consoles do not hear of new sizes of a
 * terminal of Linux, and take the byte of Ctrl-C for the end of their input.
 */
#include <winsock2.h>
#include <windows.h>
#include <stdio.h>
#include <wchar.h>

typedef HRESULT(WINAPI *create_console)(COORD, HANDLE, HANDLE, DWORD, void **);
typedef void(WINAPI *close_console)(void *);

#define PSEUDO_CONSOLE 0x20016

static SOCKET line_to;

static HANDLE input, output;

static void say(const char *word)
{
    char text[128];
    snprintf(text, sizeof text, "%s\n", word);
    send(line_to, text, (int)strlen(text), 0);
}

static void say_number(const char *word, unsigned long number)
{
    char text[64];
    snprintf(text, sizeof text, "%s %lu", word, number);
    say(text);
}

static void say_modes(const char *word, unsigned long number)
{
    char text[128];
    DWORD in = 0, out = 0;
    GetConsoleMode(input, &in);
    GetConsoleMode(output, &out);
    snprintf(text, sizeof text, "%s %lu %lu %lu %u %u", word, number, in, out, GetConsoleCP(), GetConsoleOutputCP());
    say(text);
}

/* A line without its end; 0 when nobody is there any more. */
static int hear(char *text, int room)
{
    int count = 0;
    char c;
    while (recv(line_to, &c, 1, 0) == 1) {
        if (c == '\n') {
            text[count] = 0;
            return 1;
        }
        if (count < room - 1)
            text[count++] = c;
    }
    return 0;
}

static int reach(const wchar_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[8];
    address.sin_port = htons((u_short)_wtoi(port));
    line_to = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    /* The programs that we start are not to have it. */
    SetHandleInformation((HANDLE)line_to, HANDLE_FLAG_INHERIT, 0);
    return connect(line_to, (struct sockaddr *)&address, sizeof address) == 0 && hear(text, sizeof text) &&
           strcmp(text, "go") == 0;
}

static wchar_t *after(wchar_t *line, int words)
{
    while (words--) {
        wchar_t end = *line == L'"' ? *line++ : L' ';
        while (*line && *line != end)
            line++;
        if (*line == L'"')
            line++;
        while (*line == L' ')
            line++;
    }
    return line;
}

/* The buffer and the window, which has to fit into it at every step. */
static void resize(SHORT columns, SHORT lines)
{
    CONSOLE_SCREEN_BUFFER_INFO now;
    COORD size = {columns, lines};
    GetConsoleScreenBufferInfo(output, &now);
    SMALL_RECT small = {0, 0, min(columns, now.dwSize.X) - 1, min(lines, now.dwSize.Y) - 1};
    SMALL_RECT full = {0, 0, columns - 1, lines - 1};
    SetConsoleWindowInfo(output, TRUE, &small);
    SetConsoleScreenBufferSize(output, size);
    SetConsoleWindowInfo(output, TRUE, &full);
    /* Wine's console tells of the buffer alone, when the window has not followed yet: who looks then sees the old size. */
    INPUT_RECORD told = {.EventType = WINDOW_BUFFER_SIZE_EVENT, .Event.WindowBufferSizeEvent.dwSize = size};
    DWORD count;
    WriteConsoleInputW(input, &told, 1, &count);
}

static void press(WCHAR unit)
{
    INPUT_RECORD records[2] = {0};
    DWORD count;
    for (int n = 0; n < 2; n++) {
        KEY_EVENT_RECORD *key = &records[n].Event.KeyEvent;
        records[n].EventType = KEY_EVENT;
        key->bKeyDown = n == 0;
        key->wRepeatCount = 1;
        key->uChar.UnicodeChar = unit;
        if (unit > 0 && unit < 27 && unit != L'\r' && unit != L'\t') {
            key->wVirtualKeyCode = unit + 'A' - 1;
            key->dwControlKeyState = LEFT_CTRL_PRESSED;
        }
    }
    WriteConsoleInputW(input, records, 2, &count);
}

static BOOL WINAPI stay(DWORD type)
{
    return type == CTRL_C_EVENT || type == CTRL_BREAK_EVENT;
}

/* As the system does it; GenerateConsoleCtrlEvent of Wine 8 does not. */
static void send_break(HANDLE process)
{
    void *routine = (void *)GetProcAddress(GetModuleHandleW(L"kernelbase"), "CtrlRoutine");
    CloseHandle(CreateRemoteThread(process, NULL, 0, routine, (void *)CTRL_BREAK_EVENT, 0, NULL));
}

static DWORD WINAPI await(void *process)
{
    DWORD code = 0;
    WaitForSingleObject(process, INFINITE);
    GetExitCodeProcess(process, &code);
    say_modes("ended", code);
    shutdown(line_to, SD_BOTH);
    ExitProcess(0);
}

static int at_console(wchar_t *command)
{
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    STARTUPINFOW start = {.cb = sizeof start};
    PROCESS_INFORMATION process;
    char text[128];
    unsigned a, b;

    input = CreateFileW(L"CONIN$", GENERIC_READ | GENERIC_WRITE, 3, &inherited, OPEN_EXISTING, 0, NULL);
    output = CreateFileW(L"CONOUT$", GENERIC_READ | GENERIC_WRITE, 3, &inherited, OPEN_EXISTING, 0, NULL);
    if (input == INVALID_HANDLE_VALUE || output == INVALID_HANDLE_VALUE)
        return say_number("failed", GetLastError()), 3;
    SetConsoleCtrlHandler(stay, TRUE);
    /* Whoever started us may be deaf to Ctrl-C, which is inherited. */
    SetConsoleCtrlHandler(NULL, FALSE);
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = input;
    start.hStdOutput = start.hStdError = output;
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL, &start, &process))
        return say_number("failed", GetLastError()), 4;
    say_modes("started", process.dwProcessId);
    if (!hear(text, sizeof text))
        return TerminateProcess(process.hProcess, 1), 5;
    ResumeThread(process.hThread);
    CloseHandle(CreateThread(NULL, 0, await, process.hProcess, 0, NULL));
    while (hear(text, sizeof text)) {
        if (sscanf(text, "resize %u %u", &a, &b) == 2)
            resize((SHORT)a, (SHORT)b);
        else if (sscanf(text, "key %u", &a) == 1)
            press((WCHAR)a);
        else if (strcmp(text, "break") == 0)
            send_break(process.hProcess);
        say_modes("done", 0);
    }
    /* Nobody is there; the program may go on. */
    Sleep(INFINITE);
    return 0;
}

static int at_new_console(const wchar_t *port, SHORT columns, SHORT lines, const wchar_t *command)
{
    static wchar_t line[32768];
    wchar_t self[MAX_PATH];
    HMODULE kernel = GetModuleHandleW(L"kernel32");
    create_console create = (create_console)(void *)GetProcAddress(kernel, "CreatePseudoConsole");
    close_console end = (close_console)(void *)GetProcAddress(kernel, "ClosePseudoConsole");
    HANDLE streams[2] = {GetStdHandle(STD_INPUT_HANDLE), GetStdHandle(STD_OUTPUT_HANDLE)};
    COORD size = {columns, lines};
    STARTUPINFOEXW start = {.StartupInfo.cb = sizeof start};
    PROCESS_INFORMATION process;
    SIZE_T room = 0;
    void *console;

    closesocket(line_to);
    if (!create || !end || create(size, streams[0], streams[1], 0, &console) < 0)
        return 6;
    /* The console has them; whoever reads and writes them sees its end when it ends. */
    CloseHandle(streams[0]);
    CloseHandle(streams[1]);
    GetModuleFileNameW(NULL, self, MAX_PATH);
    swprintf(line, 32768, L"\"%ls\" %ls at %ls", self, port, command);
    InitializeProcThreadAttributeList(NULL, 1, 0, &room);
    start.lpAttributeList = malloc(room);
    InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &room);
    UpdateProcThreadAttribute(start.lpAttributeList, 0, PSEUDO_CONSOLE, console, sizeof console, NULL, NULL);
    start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    if (!CreateProcessW(NULL, line, NULL, NULL, FALSE, EXTENDED_STARTUPINFO_PRESENT, NULL, NULL, &start.StartupInfo, &process))
        return 7;
    WaitForSingleObject(process.hProcess, INFINITE);
    end(console);
    return 0;
}

int wmain(int argc, wchar_t **argv)
{
    WSADATA sockets;
    wchar_t *line = GetCommandLineW();
    if (WSAStartup(MAKEWORD(2, 2), &sockets) || argc < 4 || !reach(argv[1]))
        return 2;
    if (wcscmp(argv[2], L"new") == 0 && argc > 5)
        return at_new_console(argv[1], (SHORT)_wtoi(argv[3]), (SHORT)_wtoi(argv[4]), after(line, 5));
    return at_console(after(line, 3));
}
