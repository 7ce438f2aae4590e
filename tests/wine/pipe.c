/* Named pipes from outside: who may use one, and servers that somebody else set up. Compiled by the suite `pipes` with mingw.
 *
 *   pipe who                 the user of this process, and the owner of what it makes
 *   pipe list NAME           owner and access list of a pipe
 *   pipe serve NAME SDDL     serves it with this descriptor, and says how many bytes each client wrote
 *   pipe refuse NAME         serves it so that clients may only read: who wants to write is refused by the system
 *
 * Servers say `ready`, and end with their standard input.
 */
#include <windows.h>
#include <aclapi.h>
#include <sddl.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    return 1;
}

static int say_sid(TOKEN_INFORMATION_CLASS class)
{
    HANDLE token;
    union { TOKEN_USER user; TOKEN_OWNER owner; BYTE room[256]; } found;
    DWORD size;
    WCHAR *text;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)
        || !GetTokenInformation(token, class, &found, sizeof found, &size)
        || !ConvertSidToStringSidW(class == TokenUser ? found.user.User.Sid : found.owner.Owner, &text))
        return fail("token");
    printf("%ls\n", text);
    return 0;
}

static int list(const WCHAR *name)
{
    const SECURITY_INFORMATION what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    PSECURITY_DESCRIPTOR descriptor;
    WCHAR *text;
    HANDLE pipe;
    /* Between one client and the next instance there may be none. */
    while ((pipe = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL)) == INVALID_HANDLE_VALUE)
        if (GetLastError() != ERROR_PIPE_BUSY || !WaitNamedPipeW(name, NMPWAIT_WAIT_FOREVER))
            return fail("open");
    SetLastError(GetSecurityInfo(pipe, SE_KERNEL_OBJECT, what, NULL, NULL, NULL, NULL, &descriptor));
    if (GetLastError()
        || !ConvertSecurityDescriptorToStringSecurityDescriptorW(descriptor, SDDL_REVISION_1, what, &text, NULL))
        return fail("descriptor");
    printf("%ls\n", text);
    return 0;
}

static DWORD WINAPI end_with_input(void *unused)
{
    while (getchar() != EOF)
        ;
    exit(0);
}

static int serve(const WCHAR *name, const WCHAR *sddl)
{
    SECURITY_ATTRIBUTES attributes = {sizeof attributes, NULL, FALSE};
    DWORD access = sddl ? PIPE_ACCESS_DUPLEX : PIPE_ACCESS_OUTBOUND;
    HANDLE pipe;
    if (sddl && !ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1,
                                                                      &attributes.lpSecurityDescriptor, NULL))
        return fail("descriptor");
    pipe = CreateNamedPipeW(name, access, PIPE_TYPE_BYTE, 1, 4096, 4096, 0, &attributes);
    if (pipe == INVALID_HANDLE_VALUE)
        return fail("create");
    CreateThread(NULL, 0, end_with_input, NULL, 0, NULL);
    puts("ready");
    fflush(stdout);
    for (;;) {
        char piece[4096];
        DWORD count, all = 0;
        if (!ConnectNamedPipe(pipe, NULL) && GetLastError() != ERROR_PIPE_CONNECTED && GetLastError() != ERROR_NO_DATA)
            return fail("connect");
        while (sddl && ReadFile(pipe, piece, sizeof piece, &count, NULL))
            all += count;
        printf("heard %lu\n", all);
        fflush(stdout);
        DisconnectNamedPipe(pipe);
    }
}

int wmain(int count, WCHAR **words)
{
    if (count == 2 && !wcscmp(words[1], L"who"))
        return say_sid(TokenUser) || say_sid(TokenOwner);
    if (count == 3 && !wcscmp(words[1], L"list"))
        return list(words[2]);
    if (count == 4 && !wcscmp(words[1], L"serve"))
        return serve(words[2], words[3]);
    if (count == 3 && !wcscmp(words[1], L"refuse"))
        return serve(words[2], NULL);
    fputs("wrong arguments\n", stderr);
    return 2;
}
