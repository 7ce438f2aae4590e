/* Does one thing wrong with computecore.dll, which its first argument names. Compiled by the suite `doubles` with mingw. */
#include <stdio.h>
#include <string.h>
#include <winsock2.h>
#include <windows.h>

typedef void *HCS;
typedef void (WINAPI *CALLBACK_FN)(const void *event, void *context);

#define MACHINE L"{\"Owner\":\"o; HcsModifyComputeSystem=hang\",\"VirtualMachine\":{}}"

/* The family of Hyper-V sockets, its protocol, and its addresses. */
#define HYPERV 34
#define HYPERV_RAW 1
struct address {
    USHORT family, reserved;
    GUID machine, service;
};

#define LISTENS L"{\"Owner\":\"o\",\"VirtualMachine\":{\"Devices\":{\"HvSocket\":{\"HvSocketConfig\":{" \
    L"\"DefaultBindSecurityDescriptor\":\"D:P(A;;FA;;;SY)\"}}}}}"
#define FILE_OF_WINDOWS L"C:\\windows\\system32\\computecore.dll"

static HRESULT (WINAPI *Grant)(PCWSTR, PCWSTR);
static HRESULT (WINAPI *Revoke)(PCWSTR, PCWSTR);
static HRESULT (WINAPI *Create)(PCWSTR, PCWSTR, HCS, void *, HCS *);
static HRESULT (WINAPI *Open)(PCWSTR, DWORD, HCS *);
static HRESULT (WINAPI *Properties)(HCS, HCS, PCWSTR);
static HRESULT (WINAPI *Modify)(HCS, HCS, PCWSTR, HANDLE);
static HRESULT (WINAPI *Start)(HCS, HCS, PCWSTR);
static HRESULT (WINAPI *Terminate)(HCS, HCS, PCWSTR);
static HRESULT (WINAPI *StartProcess)(HCS, PCWSTR, HCS, void *, HCS *);
static HRESULT (WINAPI *SetCallback)(HCS, int, void *, CALLBACK_FN);
static HRESULT (WINAPI *Wait)(HCS, DWORD, PWSTR *);
static HCS (WINAPI *Operation)(void *, void *);
static void (WINAPI *CloseOperation)(HCS);
static void (WINAPI *Close)(HCS);
static void (WINAPI *CloseProcess)(HCS);

static HCS the_system;
static HANDLE called;

static void finish(HCS operation)
{
    PWSTR document = NULL;
    Wait(operation, INFINITE, &document);
    LocalFree(document);
    CloseOperation(operation);
}

static void WINAPI ignore(const void *event, void *context)
{
}

static void WINAPI close_inside(const void *event, void *context)
{
    Close(the_system);
    SetEvent(called);
}

static HCS made(PCWSTR document)
{
    HCS system = NULL, operation = Operation(NULL, NULL);
    Create(L"m1", document, operation, NULL, &system);
    finish(operation);
    return system;
}

static HCS machine(void)
{
    return made(MACHINE);
}

static void end(HCS system)
{
    HCS operation = Operation(NULL, NULL);
    Terminate(system, operation, NULL);
    finish(operation);
    Close(system);
}

static void simple(HCS system, PCWSTR query)
{
    HCS operation = Operation(NULL, NULL);
    Properties(system, operation, query);
    finish(operation);
}

/* An address of a machine, or of none. */
static struct address address_in(HCS system)
{
    struct address address = {HYPERV, 0, {0}, {1, 0xfacb, 0x11e6, {0xbd, 0x58, 0x64, 0, 0x6a, 0x79, 0x86, 0xd3}}};
    GUID *id = &address.machine;
    HCS operation = Operation(NULL, NULL);
    PWSTR document = NULL, text;
    Properties(system, operation, NULL);
    Wait(operation, INFINITE, &document);
    text = wcsstr(document, L"\"RuntimeId\":\"");
    if (text) {
        unsigned int part[11];
        int each;
        swscanf(text + 13, L"%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x", &part[0], &part[1], &part[2], &part[3], &part[4],
                &part[5], &part[6], &part[7], &part[8], &part[9], &part[10]);
        id->Data1 = part[0];
        id->Data2 = part[1];
        id->Data3 = part[2];
        for (each = 0; each < 8; each++) {
            id->Data4[each] = part[3 + each];
        }
    }
    LocalFree(document);
    CloseOperation(operation);
    return address;
}

/* Asks for a process in a system that runs. */
static void process(PCWSTR parameters)
{
    HCS system = machine(), process = NULL, operation = Operation(NULL, NULL);
    SetCallback(system, 0, NULL, ignore);
    Start(system, operation, NULL);
    finish(operation);
    operation = Operation(NULL, NULL);
    StartProcess(system, parameters, operation, NULL, &process);
    finish(operation);
    CloseProcess(process);
    end(system);
}

/* Does one thing wrong with a socket of a machine. */
static void sockets(const char *what)
{
    HCS system = made(LISTENS);
    struct address address = address_in(system);
    DWORD flags = strcmp(what, "socket that cannot wait") ? WSA_FLAG_OVERLAPPED : 0;
    WSADATA data;
    SOCKET socket;
    WSAStartup(0x202, &data);
    socket = WSASocketW(HYPERV, SOCK_STREAM, HYPERV_RAW, NULL, 0, flags);
    if (!strcmp(what, "socket of no machine")) {
        memset(&address.machine, 0, sizeof address.machine);
    } else if (!strcmp(what, "socket with something reserved")) {
        address.reserved = 1;
    }
    if (strcmp(what, "socket unbound") && strcmp(what, "socket left open")) {
        bind(socket, (struct sockaddr *)&address, sizeof address);
    }
    if (!strcmp(what, "socket unbound") || !strcmp(what, "socket listens for ever")) {
        listen(socket, 1);
    }
    if (strcmp(what, "socket left open") && strcmp(what, "socket listens for ever")) {
        closesocket(socket);
    }
    end(system);
}

/* The endpoint that the suite records, its address, and a change of a machine's adapter. */
#define ENDPOINT L"00000002-0000-0000-0000-000000000000"
#define ADDRESS L"00-15-5D-1C-00-02"
#define ADAPTER(request, id, endpoint, address, more) \
    L"{\"ResourcePath\":\"VirtualMachine/Devices/NetworkAdapters/" id L"\",\"RequestType\":\"" request \
    L"\",\"Settings\":{\"EndpointId\":\"" endpoint L"\",\"MacAddress\":\"" address L"\"" more L"}}"

static void change(HCS system, PCWSTR request)
{
    HCS operation = Operation(NULL, NULL);
    Modify(system, operation, request, NULL);
    finish(operation);
}

/* Does one thing wrong with a network adapter of a machine. */
static void adapters(const char *what)
{
    HCS system = made(L"{\"Owner\":\"o\",\"VirtualMachine\":{}}"), operation = Operation(NULL, NULL);
    SetCallback(system, 0, NULL, ignore);
    Start(system, operation, NULL);
    finish(operation);
    if (!strcmp(what, "adapter of no endpoint")) {
        change(system, ADAPTER(L"Add", L"A1", L"00000009-0000-0000-0000-000000000000", ADDRESS, L""));
    } else if (!strcmp(what, "adapter with another address")) {
        change(system, ADAPTER(L"Add", L"A1", ENDPOINT, L"00-15-5D-1C-00-03", L""));
    } else {
        /* What is refused plugs nothing in. */
        change(system, ADAPTER(L"Add", L"A1", ENDPOINT, ADDRESS, L",\"Colour\":\"red\""));
        change(system, ADAPTER(L"Add", L"A1", ENDPOINT, ADDRESS, L""));
        if (strcmp(what, "adapter plugged in twice")) {
            change(system, ADAPTER(L"Remove", L"A1", ENDPOINT, ADDRESS, L""));
        }
        change(system, ADAPTER(L"Add", L"A2", ENDPOINT, ADDRESS, L""));
    }
    end(system);
}

/* A folder of the test, its back-slashes doubled for JSON in `quoted`. */
static WCHAR folder[MAX_PATH], quoted[2 * MAX_PATH];

/* Makes a file in the folder of the test, with the directories above it. */
static void file(PCWSTR name, const char *content)
{
    WCHAR path[MAX_PATH];
    DWORD written;
    HANDLE made;
    WCHAR *at;
    swprintf(path, MAX_PATH, L"%ls\\%ls", folder, name);
    for (at = path + 3; *at; at++) {
        if (*at == L'\\') {
            *at = 0;
            CreateDirectoryW(path, NULL);
            *at = L'\\';
        }
    }
    made = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    WriteFile(made, content, strlen(content), &written, NULL);
    CloseHandle(made);
}

static void grant(PCWSTR name, HRESULT (WINAPI *to)(PCWSTR, PCWSTR))
{
    WCHAR path[MAX_PATH];
    swprintf(path, MAX_PATH, L"%ls\\%ls", folder, name);
    to(L"m1", path);
}

/* A Windows utility machine; of the shares, `%ls` is the folder. */
static HCS utility(PCWSTR shares)
{
    static WCHAR document[4096], with[2048];
    swprintf(with, 2048, shares, quoted);
    swprintf(document, 4096,
             L"{\"Owner\":\"o\",\"VirtualMachine\":{\"Chipset\":{\"Uefi\":{\"BootThis\":{\"DeviceType\":\"VmbFs\","
             L"\"DevicePath\":\"\\\\EFI\\\\boot.efi\"}}},\"Devices\":{\"Scsi\":{\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\":{"
             L"\"Attachments\":{\"0\":{\"Type\":\"VirtualDisk\",\"Path\":\"%ls\\\\machine.vhdx\"}}}},"
             L"\"HvSocket\":{\"HvSocketConfig\":{\"DefaultBindSecurityDescriptor\":\"D:P(A;;FA;;;SY)\"}},"
             L"\"VirtualSmb\":{\"Shares\":[%ls]}}}}", quoted, with);
    return made(document);
}

#define OS(name, options) L"{\"Name\":\"os\",\"Path\":\"%ls\\\\" name L"\",\"Options\":{" options L"}}"
#define FILES L"UtilityVM\\\\Files"
#define READ L"\"ReadOnly\":true"
#define SHARE(request, more) L"{\"ResourcePath\":\"VirtualMachine/Devices/VirtualSmb/Shares\",\"RequestType\":\"" request \
    L"\",\"Settings\":{\"Name\":\"s1\"" more L"}}"

/* A change of a share, with the path of the folder. */
static void share(HCS system, PCWSTR request)
{
    static WCHAR text[2048];
    swprintf(text, 2048, request, quoted);
    change(system, text);
}

/* Starts a machine, for whose guest a socket listens that nobody looks at. */
static SOCKET started(HCS system)
{
    struct address address = address_in(system);
    GUID service = {0xacef5661, 0x84a1, 0x4e44, {0x85, 0x6b, 0x62, 0x45, 0xe6, 0x9f, 0x46, 0x20}};
    HCS operation = Operation(NULL, NULL);
    WSADATA data;
    SOCKET socket;
    WSAStartup(0x202, &data);
    socket = WSASocketW(HYPERV, SOCK_STREAM, HYPERV_RAW, NULL, 0, WSA_FLAG_OVERLAPPED);
    address.service = service;
    bind(socket, (struct sockaddr *)&address, sizeof address);
    listen(socket, 1);
    SetCallback(system, 0, NULL, ignore);
    Start(system, operation, NULL);
    finish(operation);
    return socket;
}

#define DISK(request, name) L"{\"ResourcePath\":\"VirtualMachine/Devices/Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/1\"," \
    L"\"RequestType\":\"" request L"\",\"Settings\":{\"Type\":\"VirtualDisk\",\"Path\":\"%ls\\\\" name L"\"}}"

/* Does one thing wrong with a Windows utility machine. */
static void utilities(const char *what)
{
    HCS system = NULL;
    SOCKET socket = INVALID_SOCKET;
    file(L"UtilityVM\\Files\\EFI\\boot.efi", "MZ");
    file(L"machine.vhdx", "vhdxfile");
    file(L"empty\\note.txt", "note");
    grant(L"machine.vhdx", Grant);
    if (!strcmp(what, "utility without share")) {
        system = utility(L"");
    } else if (!strcmp(what, "utility of other files")) {
        system = utility(OS(L"empty", READ));
    } else if (!strcmp(what, "utility without loader")) {
        file(L"other\\UtilityVM\\Files\\note.txt", "note");
        system = utility(OS(L"other\\\\UtilityVM\\\\Files", READ));
    } else if (!strcmp(what, "utility that can be written")) {
        system = utility(OS(FILES, L""));
    } else {
        system = utility(OS(FILES, READ));
        if (!strcmp(what, "utility that nobody listens to")) {
            HCS operation = Operation(NULL, NULL);
            SetCallback(system, 0, NULL, ignore);
            Start(system, operation, NULL);
            finish(operation);
        } else {
            socket = started(system);
        }
    }
    if (!strcmp(what, "utility with a share of nothing")) {
        share(system, SHARE(L"Add", L",\"Path\":\"%ls\\\\nothing\""));
    } else if (!strcmp(what, "utility with a share twice")) {
        share(system, SHARE(L"Add", L",\"Path\":\"%ls\""));
        share(system, SHARE(L"Add", L",\"Path\":\"%ls\""));
    } else if (!strcmp(what, "utility with files of a whole share")) {
        share(system, SHARE(L"Add", L",\"Path\":\"%ls\",\"Options\":{\"RestrictFileAccess\":true}"));
    } else if (!strcmp(what, "utility without the share that goes")) {
        change(system, SHARE(L"Remove", L""));
    } else if (!strcmp(what, "utility with a share that stays")) {
        share(system, SHARE(L"Add", L",\"Path\":\"%ls\""));
        change(system, SHARE(L"Remove", L""));
    } else if (!strcmp(what, "utility with a share that goes")) {
        share(system, SHARE(L"Add", L",\"Path\":\"%ls\",\"Options\":{\"NoDirectmap\":true}"));
        change(system, SHARE(L"Remove", L""));
    } else if (!strcmp(what, "utility with a share that becomes another")) {
        share(system, SHARE(L"Add", L",\"Path\":\"%ls\""));
        share(system, SHARE(L"Update", L",\"Path\":\"%ls\""));
    } else if (!strncmp(what, "utility with a scratch", 22)) {
        static char state[4096];
        char path[MAX_PATH], *at = state;
        const WCHAR *from;
        for (from = quoted; *from; from++) {
            path[from - quoted] = (char)*from;
        }
        path[from - quoted] = 0;
        at += sprintf(at, "{\"kind\":\"Scratch\",\"chain\":[{\"Id\":\"55555555-5555-5555-8555-000000000001\",\"Path\":\"%s\\\\l1\"}],",
                      path);
        sprintf(at, "\"children\":[],\"utility\":false,\"activated\":%s,\"prepared\":false,\"filled\":false,\"bytes\":0}",
                strstr(what, "mounted") ? "true" : "false");
        file(L"l1\\blank-base.vhdx", "vhdxfile");
        file(L"scratch\\sandbox.vhdx", "vhdxfile");
        file(L"scratch\\double.json", state);
        grant(L"scratch\\sandbox.vhdx", Grant);
        if (!strstr(what, "whose base")) {
            grant(L"l1\\blank-base.vhdx", Grant);
        }
        share(system, DISK(L"Add", L"scratch\\\\sandbox.vhdx"));
        if (!strstr(what, "whose base")) {
            grant(L"l1\\blank-base.vhdx", Revoke);
        }
        grant(L"scratch\\sandbox.vhdx", Revoke);
    }
    if (socket != INVALID_SOCKET) {
        closesocket(socket);
    }
    grant(L"machine.vhdx", Revoke);
    if (!strstr(what, "without share") && !strstr(what, "other files") && !strstr(what, "loader") && !strstr(what, "written")) {
        end(system);
    } else {
        Close(system);
    }
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    HMODULE dll = LoadLibraryExA("computecore.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    HCS system, operation;
    WCHAR *to = quoted;
    const WCHAR *from;
    if (!dll) {
        return 3;
    }
    MultiByteToWideChar(CP_UTF8, 0, count > 2 ? words[2] : "", -1, folder, MAX_PATH);
    for (from = folder; *from; from++) {
        if (*from == L'\\') {
            *to++ = L'\\';
        }
        *to++ = *from;
    }
#define RESOLVE(variable, name) \
    if (!(variable = (void *)GetProcAddress(dll, name))) { \
        return 4; \
    }
    RESOLVE(Grant, "HcsGrantVmAccess")
    RESOLVE(Revoke, "HcsRevokeVmAccess")
    RESOLVE(Create, "HcsCreateComputeSystem")
    RESOLVE(Open, "HcsOpenComputeSystem")
    RESOLVE(Properties, "HcsGetComputeSystemProperties")
    RESOLVE(Modify, "HcsModifyComputeSystem")
    RESOLVE(Start, "HcsStartComputeSystem")
    RESOLVE(Terminate, "HcsTerminateComputeSystem")
    RESOLVE(SetCallback, "HcsSetComputeSystemCallback")
    RESOLVE(Wait, "HcsWaitForOperationResult")
    RESOLVE(Operation, "HcsCreateOperation")
    RESOLVE(CloseOperation, "HcsCloseOperation")
    RESOLVE(Close, "HcsCloseComputeSystem")
    RESOLVE(StartProcess, "HcsCreateProcess")
    RESOLVE(CloseProcess, "HcsCloseProcess")

    if (!strcmp(what, "nothing")) {
        system = machine();
        simple(system, NULL);
        end(system);
    } else if (!strcmp(what, "property of the service")) {
        system = machine();
        simple(system, L"{\"PropertyTypes\":[\"ProcessorTopology\"]}");
        end(system);
    } else if (!strcmp(what, "property twice")) {
        system = machine();
        simple(system, L"{\"PropertyTypes\":[\"Statistics\",\"ProcessList\",\"Statistics\"]}");
        end(system);
    } else if (!strcmp(what, "double close")) {
        operation = Operation(NULL, NULL);
        CloseOperation(operation);
        CloseOperation(operation);
    } else if (!strcmp(what, "use after close")) {
        system = machine();
        end(system);
        simple(system, NULL);
    } else if (!strcmp(what, "wrong kind")) {
        operation = Operation(NULL, NULL);
        simple(operation, NULL);
        CloseOperation(operation);
    } else if (!strcmp(what, "no handle")) {
        simple((HCS)0x1234, NULL);
    } else if (!strcmp(what, "operation twice")) {
        system = machine();
        operation = Operation(NULL, NULL);
        Properties(system, operation, NULL);
        Properties(system, operation, NULL);
        finish(operation);
        end(system);
    } else if (!strcmp(what, "abandoned")) {
        system = machine();
        operation = Operation(NULL, NULL);
        Modify(system, operation, L"{}", NULL);
        CloseOperation(operation);
        end(system);
    } else if (!strcmp(what, "not freed")) {
        PWSTR document = NULL;
        system = machine();
        operation = Operation(NULL, NULL);
        Properties(system, operation, NULL);
        Wait(operation, INFINITE, &document);
        CloseOperation(operation);
        end(system);
    } else if (!strcmp(what, "failure not freed")) {
        PWSTR document = NULL;
        system = NULL;
        operation = Operation(NULL, NULL);
        Create(L"m1", L"{\"Colour\":\"red\"}", operation, NULL, &system);
        Wait(operation, INFINITE, &document);
        CloseOperation(operation);
        Close(system);
    } else if (!strcmp(what, "no callback")) {
        system = machine();
        operation = Operation(NULL, NULL);
        Start(system, operation, NULL);
        finish(operation);
        end(system);
    } else if (!strcmp(what, "descriptor")) {
        system = NULL;
        operation = Operation(NULL, NULL);
        Create(L"m1", MACHINE, operation, &system, &system);
        CloseOperation(operation);
    } else if (!strcmp(what, "access")) {
        HCS other;
        system = machine();
        Open(L"m1", GENERIC_READ, &other);
        end(system);
    } else if (!strcmp(what, "empty document")) {
        system = machine();
        simple(system, L"");
        end(system);
    } else if (!strcmp(what, "leak")) {
        machine();
    } else if (!strcmp(what, "two callbacks")) {
        system = machine();
        SetCallback(system, 0, NULL, ignore);
        SetCallback(system, 0, NULL, ignore);
        end(system);
    } else if (!strcmp(what, "size without console")) {
        process(L"{\"CommandLine\":\"x\",\"ConsoleSize\":[24,80]}");
    } else if (!strcmp(what, "console with errors")) {
        process(L"{\"CommandLine\":\"x\",\"EmulateConsole\":true,\"CreateStdOutPipe\":true,\"CreateStdErrPipe\":true}");
    } else if (!strncmp(what, "socket", 6)) {
        sockets(what);
    } else if (!strncmp(what, "utility", 7)) {
        utilities(what);
    } else if (!strncmp(what, "adapter", 7)) {
        adapters(what);
    } else if (!strcmp(what, "granted twice")) {
        Grant(L"m1", FILE_OF_WINDOWS);
        Grant(L"m1", FILE_OF_WINDOWS);
        Revoke(L"m1", FILE_OF_WINDOWS);
    } else if (!strcmp(what, "revoked twice")) {
        Grant(L"m1", FILE_OF_WINDOWS);
        Revoke(L"m1", FILE_OF_WINDOWS);
        Revoke(L"m1", FILE_OF_WINDOWS);
    } else if (!strcmp(what, "never revoked")) {
        Grant(L"m1", FILE_OF_WINDOWS);
    } else if (!strcmp(what, "granted to nobody")) {
        Grant(L"", FILE_OF_WINDOWS);
    } else if (!strcmp(what, "close inside")) {
        called = CreateEventA(NULL, TRUE, FALSE, NULL);
        the_system = machine();
        SetCallback(the_system, 0, NULL, close_inside);
        operation = Operation(NULL, NULL);
        Terminate(the_system, operation, NULL);
        WaitForSingleObject(called, INFINITE);
        finish(operation);
    } else {
        return 2;
    }
    return 0;
}
