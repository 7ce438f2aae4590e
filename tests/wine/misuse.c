/* Does one thing wrong with computecore.dll, which its first argument names. Compiled by the suite `doubles` with mingw. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

typedef void *HCS;
typedef void (WINAPI *CALLBACK_FN)(const void *event, void *context);

#define MACHINE L"{\"Owner\":\"o; HcsModifyComputeSystem=hang\",\"VirtualMachine\":{}}"

static HRESULT (WINAPI *Create)(PCWSTR, PCWSTR, HCS, void *, HCS *);
static HRESULT (WINAPI *Open)(PCWSTR, DWORD, HCS *);
static HRESULT (WINAPI *Properties)(HCS, HCS, PCWSTR);
static HRESULT (WINAPI *Modify)(HCS, HCS, PCWSTR, HANDLE);
static HRESULT (WINAPI *Start)(HCS, HCS, PCWSTR);
static HRESULT (WINAPI *Terminate)(HCS, HCS, PCWSTR);
static HRESULT (WINAPI *SetCallback)(HCS, int, void *, CALLBACK_FN);
static HRESULT (WINAPI *Wait)(HCS, DWORD, PWSTR *);
static HCS (WINAPI *Operation)(void *, void *);
static void (WINAPI *CloseOperation)(HCS);
static void (WINAPI *Close)(HCS);

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

static HCS machine(void)
{
    HCS system = NULL, operation = Operation(NULL, NULL);
    Create(L"m1", MACHINE, operation, NULL, &system);
    finish(operation);
    return system;
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

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    HMODULE dll = LoadLibraryExA("computecore.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    HCS system, operation;
    if (!dll) {
        return 3;
    }
#define RESOLVE(variable, name) \
    if (!(variable = (void *)GetProcAddress(dll, name))) { \
        return 4; \
    }
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
