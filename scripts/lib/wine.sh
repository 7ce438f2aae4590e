# A Wine prefix for the tests, made once per Wine version. Sourced after common.sh; sets WINEPREFIX, and PATH to a `wine` that
# starts every time.
# shellcheck shell=bash

export WINEDEBUG=${WINEDEBUG:--all}
# No window, no mono or gecko installer: nothing here needs them.
export WINEDLLOVERRIDES="mscoree,mshtml=;winemenubuilder.exe=d"

# Makes the prefix ready, with the DLL that Wine before 9 lacks.
prepare_wine() {
    need_packages wine64 wine gcc-mingw-w64-x86-64
    local version programs=$repo/scripts/lib/programs
    case :$PATH: in
        *:$programs:*) ;;
        *) export PATH=$programs:$PATH ;;
    esac
    version=$(wine --version 2>/dev/null | tr -c 'A-Za-z0-9.\n' '-')
    # The number changes with what is done below.
    export WINEPREFIX=${XDG_CACHE_HOME:-$HOME/.cache}/ctr-like/wine-2-$version
    if [ ! -f "$WINEPREFIX/ready" ]; then
        say "preparing a Wine prefix ($version)"
        rm -rf "$WINEPREFIX"
        mkdir -p "$(dirname "$WINEPREFIX")"
        wine wineboot.exe --init >/dev/null 2>&1
        wineserver --wait
        if [ ! -f "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" ]; then
            x86_64-w64-mingw32-gcc -O2 -shared -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
                "$repo/crates/wineinit/src/bcryptprimitives.c" -ladvapi32
        fi
        # How many milliseconds a service may take to come; Wine gives them ten seconds.
        wine reg add 'HKLM\SYSTEM\CurrentControlSet\Control' /v ServicesPipeTimeout /t REG_DWORD /d 180000 /f >/dev/null 2>&1
        wineserver --wait
        touch "$WINEPREFIX/ready"
    fi
}

# Makes a second prefix, with the doubles of the tests in its system directory, and the program that runs in their containers.
# Needs prepare_wine before. Sets CTR_LIKE_DOUBLES and CTR_LIKE_TEST_PROGRAM.
prepare_doubles() {
    local built=$repo/target/x86_64-pc-windows-gnu/debug
    export CTR_LIKE_DOUBLES=$WINEPREFIX-platform
    if [ ! -f "$CTR_LIKE_DOUBLES/ready" ]; then
        rm -rf "$CTR_LIKE_DOUBLES"
        cp -a "$WINEPREFIX" "$CTR_LIKE_DOUBLES"
    fi
    if [ ! -f "$CTR_LIKE_DOUBLES/windows-10" ]; then
        # Wine says it is an older Windows than containers exist for.
        WINEPREFIX=$CTR_LIKE_DOUBLES wine reg add 'HKCU\Software\Wine' /v Version /d win10 /f >/dev/null 2>&1
        WINEPREFIX=$CTR_LIKE_DOUBLES wineserver --wait
        touch "$CTR_LIKE_DOUBLES/windows-10"
    fi
    install -m 644 "$built/computecore.dll" "$built/computenetwork.dll" "$built/computestorage.dll" "$built/virtdisk.dll" "$built/vmcompute.dll" \
        "$CTR_LIKE_DOUBLES/drive_c/windows/system32/"
    x86_64-w64-mingw32-gcc -O1 -municode -o "$CTR_LIKE_DOUBLES/drive_c/windows/system32/ctr-like-terminal.exe" \
        "$repo/tests/wine/terminal.c" -lws2_32
    x86_64-w64-mingw32-gcc -O1 -o "$CTR_LIKE_DOUBLES/drive_c/program.exe" "$repo/crates/emulator/tests/wine/program.c"
    export CTR_LIKE_TEST_PROGRAM='C:\program.exe'
}
