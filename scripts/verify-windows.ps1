#Requires -Version 5.1
<#
.SYNOPSIS
What only a real Windows host can prove: Windows containers over the Host Compute Service, one line for each thing.

.DESCRIPTION
Run it from an elevated prompt on a Windows with the feature Containers, after
  cargo build --release --locked -p cli -p daemon
It works in a folder under %TEMP% with a daemon and a pipe of its own, and ends with a table to paste into an issue: the lines of
docs\verification.md that say "real Windows" are closed with it. Exit codes: 0 everything held, 1 something did not, 2 something is
missing. It was written without a Windows at hand: a line that fails may be its own fault, so the table has the reason.

.PARAMETER Image
An image for this build of Windows whose programs include cmd.exe, such as nanoserver with the tag of this build.

.PARAMETER Other
An image for a newer build of Windows, which must be refused before its layers are fetched. Optional.

.PARAMETER HyperV
Tries Hyper-V isolation, too; needs the feature Hyper-V.

.PARAMETER Older
An image for an older build of Windows, which runs with Hyper-V isolation alone. Optional, with -HyperV.

.PARAMETER Linux
An image for linux/amd64 with busybox or more, to try Linux containers with; needs the feature Hyper-V. Optional.

.PARAMETER BootFiles
The folder of vmlinux and initrd.img, as scripts/build-uvm makes them on Linux. For -Linux, where no package has them.

.PARAMETER Keep
Leaves the folder in place, with the daemon's log and store.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File scripts\verify-windows.ps1 -Image registry.test/nanoserver:ltsc2022
#>
[CmdletBinding(PositionalBinding = $false)]
param(
    [Parameter(Mandatory = $true)]
    [string] $Image,
    [string] $Other = '',
    [switch] $HyperV,
    [string] $Older = '',
    [string] $Linux = '',
    [string] $BootFiles = '',
    [switch] $Keep
)

. (Join-Path $PSScriptRoot 'lib\common.ps1')

$table = New-Object System.Collections.Generic.List[object]

# One line of the table: a thing that holds, or the reason why it does not.
function Confirm-Line([string] $Name, [scriptblock] $Body) {
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    try {
        $null = & $Body
        $result = 'holds'
    }
    catch {
        $result = ($_.Exception.Message -split '\r?\n')[0]
    }
    Write-Host ('{0,-60} {1}' -f $Name, $result)
    $table.Add([pscustomobject]@{ Name = $Name; Result = $result; Milliseconds = [int] $watch.ElapsedMilliseconds })
}

# Runs the command line, which must end with this code, and gives what it printed.
function Invoke-Cli([string[]] $Words, [int] $Expected = 0) {
    $answer = Invoke-Program $house.Cli $Words 600
    if ($answer.Code -ne $Expected) {
        throw "'ctr-like $($Words -join ' ')' ended with $($answer.Code) and not ${Expected}: $($answer.Err.Trim())"
    }
    return $answer.Out.Trim() + $(if ($Expected -ne 0) { $answer.Err.Trim() })
}

function Assert-Equal($Actual, $Expected) {
    if ($Actual -ne $Expected) { throw "expected '$Expected', found '$Actual'" }
}

function Assert-Match([string] $Text, [string] $Pattern) {
    if ($Text -notmatch $Pattern) { throw "expected something like '$Pattern', found '$Text'" }
}

function Test-Containers {
    Confirm-Line 'the DLLs of the container platform are found' {
        $info = Invoke-Cli @('version', '--format', 'json') | ConvertFrom-Json
        foreach ($dll in 'computecore.dll', 'computenetwork.dll', 'computestorage.dll', 'vmcompute.dll') {
            $details = @($info.Server.Components | Where-Object { $_.Name -eq 'Compute' })[0].Details
            Assert-Equal $details.$dll 'present'
        }
    }
    Confirm-Line 'an image is pulled and imported' { Invoke-Cli @('pull', $Image) }
    if ($Other -ne '') {
        Confirm-Line 'an image of a newer build is refused before a download' {
            Assert-Match (Invoke-Cli @('pull', $Other) 1) 'does not run here'
        }
    }
    Confirm-Line 'a program runs and its output arrives' {
        Assert-Equal (Invoke-Cli @('run', '--isolation', 'process', '--rm', $Image, 'cmd', '/c', 'echo hello')) 'hello'
    }
    Confirm-Line 'exit codes of 32 bits pass through' {
        $null = Invoke-Cli @('run', '--isolation', 'process', '--rm', $Image, 'cmd', '/c', 'exit 7') 7
        $null = Invoke-Cli @('run', '--isolation', 'process', '--rm', $Image, 'cmd', '/c', 'exit -1073741510') -1073741510
    }
    Confirm-Line 'a missing program is told' {
        Assert-Match (Invoke-Cli @('run', '--isolation', 'process', '--rm', $Image, 'no-such-program') 127) '0x80070002'
    }
    Confirm-Line 'a terminal in a container has a size' {
        Assert-Match (Invoke-Cli @('run', '--isolation', 'process', '--rm', '-t', $Image, 'cmd', '/c', 'mode con')) '\d{2,}'
    }
    Confirm-Line 'environment, working directory and host name' {
        $words = @('run', '--isolation', 'process', '--rm', '-e', 'SEEN=yes', '-w', 'C:\Windows', '-h', 'verify', $Image)
        Assert-Equal (Invoke-Cli ($words + @('cmd', '/c', 'echo %SEEN% %CD% %COMPUTERNAME%'))) 'yes C:\Windows VERIFY'
    }
    Confirm-Line 'a directory of the host is mounted' {
        $shared = Join-Path $house.Folder 'shared'
        $null = New-Item -ItemType Directory -Force -Path $shared
        [System.IO.File]::WriteAllText((Join-Path $shared 'note.txt'), 'from the host')
        $words = @('run', '--isolation', 'process', '--rm', '-v', "${shared}:C:\shared", $Image, 'cmd', '/c', 'type C:\shared\note.txt')
        Assert-Equal (Invoke-Cli $words) 'from the host'
    }
    Confirm-Line 'a container has an address, a way out and name servers' {
        $seen = Invoke-Cli @('run', '--isolation', 'process', '--rm', $Image, 'cmd', '/c', 'ipconfig /all')
        Assert-Match $seen 'IPv4'
        Assert-Match $seen 'DNS Servers'
        $seen = Invoke-Cli @('run', '--isolation', 'process', '--rm', $Image, 'cmd', '/c', 'route print -4')
        Assert-Match $seen '0\.0\.0\.0\s+0\.0\.0\.0\s+\d+\.\d+\.\d+\.\d+'
    }
    Confirm-Line 'a published port is shown, belongs to one container, and is free again' {
        $words = @('run', '--isolation', 'process', '-d', '-p', '18080:80', $Image, 'cmd', '/c', 'ping -t 127.0.0.1 >nul')
        $id = Invoke-Cli $words
        Assert-Match (Invoke-Cli @('ps', '--format', '{{.Ports}}')) '0\.0\.0\.0:18080->80/tcp'
        Assert-Match (Invoke-Cli @('run', '--isolation', 'process', '--rm', '-p', '18080:80', $Image, 'cmd', '/c', 'exit 0') 125) 'port is already allocated'
        $null = Invoke-Cli @('rm', '-f', $id)
        $null = Invoke-Cli @('run', '--isolation', 'process', '--rm', '-p', '18080:80', $Image, 'cmd', '/c', 'exit 0')
    }
    Confirm-Line 'a network of a user: its addresses, the address that is asked for, in use, removed' {
        $null = Invoke-Cli @('network', 'create', '--subnet', '10.209.0.0/24', 'verify-back')
        $words = @('run', '-d', '--network', 'verify-back', '--ip', '10.209.0.9', $Image, 'cmd', '/c', 'ping -t 127.0.0.1 >nul')
        $id = Invoke-Cli $words
        Assert-Match (Invoke-Cli @('exec', $id, 'cmd', '/c', 'ipconfig')) '10\.209\.0\.9'
        Assert-Match (Invoke-Cli @('network', 'rm', 'verify-back') 1) 'has active endpoints'
        $null = Invoke-Cli @('rm', '-f', $id)
        $null = Invoke-Cli @('network', 'rm', 'verify-back')
    }
    Confirm-Line 'an internal network: nothing leaves its range' {
        $null = Invoke-Cli @('network', 'create', '--internal', '--subnet', '10.210.0.0/24', 'verify-closed')
        $words = @('run', '--rm', '--network', 'verify-closed', $Image, 'cmd', '/c')
        $null = Invoke-Cli ($words + @('ping -n 1 10.210.0.1'))
        $null = Invoke-Cli ($words + @('ping -n 1 -w 2000 1.1.1.1')) 1
        $null = Invoke-Cli @('network', 'rm', 'verify-closed')
    }
    Confirm-Line 'a container runs on its own; exec, logs, ps, inspect' {
        $null = Invoke-Cli @('run', '--isolation', 'process', '-d', '--name', 'verify', $Image, 'cmd', '/c', 'echo started & ping -t 127.0.0.1 >nul')
        Assert-Equal (Invoke-Cli @('exec', 'verify', 'cmd', '/c', 'echo beside')) 'beside'
        Assert-Match (Invoke-Cli @('logs', 'verify')) 'started'
        Assert-Match (Invoke-Cli @('ps')) 'verify'
        Assert-Equal (Invoke-Cli @('inspect', '--format', '{{.Platform}}', 'verify')) 'windows'
    }
    Confirm-Line 'top and stats' {
        Assert-Match (Invoke-Cli @('top', 'verify')) 'cmd.exe'
        Assert-Match (Invoke-Cli @('stats', '--no-stream', 'verify')) 'verify'
    }
    Confirm-Line 'cp into and out of a running container' {
        $file = Join-Path $house.Folder 'copied.txt'
        [System.IO.File]::WriteAllText($file, 'copied')
        $null = Invoke-Cli @('cp', $file, 'verify:C:\')
        Assert-Equal (Invoke-Cli @('exec', 'verify', 'cmd', '/c', 'type C:\copied.txt')) 'copied'
        $null = Invoke-Cli @('cp', 'verify:C:\copied.txt', (Join-Path $house.Folder 'back.txt'))
        Assert-Equal ([System.IO.File]::ReadAllText((Join-Path $house.Folder 'back.txt'))) 'copied'
    }
    Confirm-Line 'a killed daemon: the container goes on, the next daemon finds it' {
        $house.Process.Kill()
        $house.Process.WaitForExit()
        Start-Daemon $house
        Assert-Match (Invoke-Cli @('ps')) 'verify'
        Assert-Equal (Invoke-Cli @('exec', 'verify', 'cmd', '/c', 'echo still')) 'still'
    }
    Confirm-Line 'stop, diff and commit' {
        $null = Invoke-Cli @('stop', '-t', '5', 'verify')
        Assert-Match (Invoke-Cli @('diff', 'verify')) 'copied\.txt'
        $null = Invoke-Cli @('commit', 'verify', 'verified:1')
        Assert-Equal (Invoke-Cli @('run', '--isolation', 'process', '--rm', 'verified:1', 'cmd', '/c', 'type C:\copied.txt')) 'copied'
    }
    Confirm-Line 'start again, kill, remove' {
        $null = Invoke-Cli @('start', 'verify')
        $null = Invoke-Cli @('kill', 'verify')
        $null = Invoke-Cli @('rm', 'verify')
        Assert-Equal (Invoke-Cli @('ps', '-aq')) ''
    }
    Confirm-Line 'nothing is left of images and scratches' {
        $null = Invoke-Cli @('rmi', '-f', 'verified:1', $Image)
        foreach ($kind in 'layers', 'scratch') {
            $left = @(Get-ChildItem -LiteralPath (Join-Path $house.Folder "root\windows\$kind"))
            Assert-Equal $left.Count 0
        }
    }
}

# The same image in a machine of its own, and one for an older build, which runs only so.
function Test-HyperV {
    $run = @('run', '--isolation', 'hyperv')
    Confirm-Line 'Hyper-V isolation: a machine boots, output and exit codes arrive' {
        Assert-Equal (Invoke-Cli ($run + @('--rm', $Image, 'cmd', '/c', 'echo hello'))) 'hello'
        $null = Invoke-Cli ($run + @('--rm', $Image, 'cmd', '/c', 'exit 7')) 7
    }
    Confirm-Line 'Hyper-V isolation: a directory and a file of the host are mounted' {
        $shared = Join-Path $house.Folder 'shared'
        $note = Join-Path $shared 'note.txt'
        $null = New-Item -ItemType Directory -Force -Path $shared
        [System.IO.File]::WriteAllText($note, 'from the host')
        $words = $run + @('--rm', '-v', "${shared}:C:\shared", '-v', "${note}:C:\one.txt:ro", $Image)
        Assert-Equal (Invoke-Cli ($words + @('cmd', '/c', 'type C:\shared\note.txt'))) 'from the host'
        Assert-Equal (Invoke-Cli ($words + @('cmd', '/c', 'type C:\one.txt'))) 'from the host'
    }
    Confirm-Line 'Hyper-V isolation: an address of nat' {
        $seen = Invoke-Cli ($run + @('--rm', $Image, 'cmd', '/c', 'ipconfig /all'))
        Assert-Match $seen 'IPv4'
    }
    Confirm-Line 'Hyper-V isolation: exec, a killed daemon, limits, stop, cp, commit' {
        $words = $run + @('-d', '-m', '1g', '--cpus', '2', '--name', 'machine', $Image)
        $null = Invoke-Cli ($words + @('cmd', '/c', 'echo kept> C:\kept.txt & ping -t 127.0.0.1 >nul'))
        Assert-Equal (Invoke-Cli @('exec', 'machine', 'cmd', '/c', 'echo beside')) 'beside'
        $house.Process.Kill()
        $house.Process.WaitForExit()
        Start-Daemon $house
        Assert-Equal (Invoke-Cli @('exec', 'machine', 'cmd', '/c', 'echo still')) 'still'
        $null = Invoke-Cli @('stop', '-t', '5', 'machine')
        $null = Invoke-Cli @('cp', 'machine:C:\kept.txt', (Join-Path $house.Folder 'kept.txt'))
        $null = Invoke-Cli @('commit', 'machine', 'verified:2')
        Assert-Match (Invoke-Cli ($run + @('--rm', 'verified:2', 'cmd', '/c', 'type C:\kept.txt'))) 'kept'
        $null = Invoke-Cli @('rm', 'machine')
    }
    if ($Older -ne '') {
        Confirm-Line 'Hyper-V isolation: an image for an older build runs' {
            Assert-Match (Invoke-Cli @('run', '--rm', $Older, 'cmd', '/c', 'ver')) 'Version'
        }
    }
}

function Test-LinuxContainers {
    $run = @('run', '--rm', '--platform', 'linux/amd64')
    Confirm-Line 'Linux: a machine boots, a program runs and its output arrives' {
        Assert-Equal (Invoke-Cli ($run + @($Linux, 'uname', '-s'))) 'Linux'
    }
    Confirm-Line 'Linux: exit codes, and an error that the guest tells' {
        $null = Invoke-Cli ($run + @($Linux, 'sh', '-c', 'exit 7')) 7
        $null = Invoke-Cli ($run + @($Linux, 'no-such-program')) 127
    }
    Confirm-Line 'Linux: a directory of the host is mounted' {
        $shared = Join-Path $house.Folder 'shared'
        $null = New-Item -ItemType Directory -Force -Path $shared
        [System.IO.File]::WriteAllText((Join-Path $shared 'note.txt'), 'from the host')
        Assert-Equal (Invoke-Cli ($run + @('-v', "${shared}:/shared", $Linux, 'cat', '/shared/note.txt'))) 'from the host'
    }
    Confirm-Line 'Linux: a machine of its own' {
        Assert-Equal (Invoke-Cli ($run + @('--isolation', 'hyperv', $Linux, 'echo', 'alone'))) 'alone'
    }
    Confirm-Line 'Linux: an address of nat, a way out, name servers' {
        $seen = Invoke-Cli ($run + @($Linux, 'sh', '-c', 'ip -4 addr show eth0; ip route; cat /etc/resolv.conf'))
        foreach ($part in @('inet ', 'default via ', 'nameserver ')) { Assert-Match $seen $part }
    }
    Confirm-Line 'Linux: the disk of a container grows with what is written' {
        $id = Invoke-Cli @('create', '--platform', 'linux/amd64', $Linux, 'dd', 'if=/dev/zero', 'of=/file', 'bs=1M', 'count=100')
        $disk = Join-Path $house.Folder "root\scratch\$id\scratch.vhdx"
        $empty = (Get-Item -LiteralPath $disk).Length
        if ($empty -gt 67108864) { throw "it has $empty bytes at first" }
        $null = Invoke-Cli @('start', '-a', $id)
        $written = (Get-Item -LiteralPath $disk).Length - $empty
        if ($written -lt 104857600 -or $written -gt 314572800) { throw "it grew by $written bytes" }
        $null = Invoke-Cli @('rm', $id)
    }
    Confirm-Line 'Linux: a killed daemon, exec, logs, stop' {
        $words = @('run', '-d', '--platform', 'linux/amd64', '--name', 'penguin', $Linux)
        $null = Invoke-Cli ($words + @('sh', '-c', 'echo started; while :; do sleep 1; done'))
        $house.Process.Kill()
        $house.Process.WaitForExit()
        Start-Daemon $house
        Assert-Equal (Invoke-Cli @('exec', 'penguin', 'echo', 'still')) 'still'
        Assert-Equal (Invoke-Cli @('logs', 'penguin')) 'started'
        Assert-Match (Invoke-Cli @('system', 'vm', 'ls')) 'shared'
        $null = Invoke-Cli @('stop', '-t', '2', 'penguin')
        $null = Invoke-Cli @('rm', 'penguin')
    }
}

$code = 2
$house = $null
try {
    Assert-Windows
    $administrator = [Security.Principal.WindowsBuiltInRole]::Administrator
    if (-not ([Security.Principal.WindowsPrincipal] [Security.Principal.WindowsIdentity]::GetCurrent()).IsInRole($administrator)) {
        throw 'Windows containers need an elevated prompt: run it as administrator'
    }
    if ((Get-FeatureState 'Containers') -ne 'on') {
        throw 'the feature Containers is off: Enable-WindowsOptionalFeature -Online -FeatureName Containers, then restart'
    }
    $house = New-House 'verify' (Join-Path (Get-TargetFolder) 'release')
    if ($BootFiles -ne '') { Set-Environment @{ CTR_LIKE_UVM_DIR = $BootFiles } }
    Start-Daemon $house
    Test-Containers
    if ($HyperV) { Test-HyperV }
    if ($Linux -ne '') { Test-LinuxContainers }
    $code = @($table | Where-Object { $_.Result -ne 'holds' }).Count -gt 0
    $code = if ($code) { 1 } else { 0 }
    $version = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    Write-Section 'to paste back'
    Write-Host "Windows $($version.ProductName), build $($version.CurrentBuildNumber).$($version.UBR), image $Image"
    Write-Host ''
    Write-Host '| what | result | ms |'
    Write-Host '|---|---|---|'
    foreach ($line in $table) { Write-Host "| $($line.Name) | $($line.Result) | $($line.Milliseconds) |" }
}
catch {
    Write-Failure 'verify-windows.ps1' $_
    if ($table.Count -gt 0) { $code = 1 }
}
finally {
    if ($house) {
        if ($Keep) { $null = Stop-Daemon $house } else { Remove-House $house }
    }
    Restore-Environment
}
exit $code
