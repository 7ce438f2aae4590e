<#
.SYNOPSIS
Pulls an image, runs a command in it and prints its log: the API of ctr-like needs a named pipe and a JSON reader.
.EXAMPLE
./client.ps1 busybox echo hello
.LINK
docs/reference/api.md
#>
param(
    [Parameter(Mandatory)] [string] $Image,
    [Parameter(ValueFromRemainingArguments)] [string[]] $Command = @()
)
$ErrorActionPreference = 'Stop'

# Identification: the daemon learns who we are and cannot act as us.
$pipe = [System.IO.Pipes.NamedPipeClientStream]::new('.', 'ctr-like', 'InOut', 'None', 'Identification')
$pipe.Connect(5000)
$utf8 = [System.Text.UTF8Encoding]::new($false)
$reader = [System.IO.StreamReader]::new($pipe, $utf8)
$writer = [System.IO.StreamWriter]::new($pipe, $utf8)
$writer.NewLine = "`n"
$writer.AutoFlush = $true

# Gives the items of a stream, or the one result.
function Invoke-Daemon([string] $Method, [hashtable] $Params = @{}) {
    $writer.WriteLine((@{ id = 1; method = "ctr.v1.$Method"; params = $Params } | ConvertTo-Json -Compress -Depth 32))
    while ($null -ne ($line = $reader.ReadLine())) {
        $reply = $line | ConvertFrom-Json
        $names = $reply.PSObject.Properties.Name
        if ($names -contains 'error') { throw "$($reply.error.code): $($reply.error.message)" }
        if ($names -contains 'end') { return }
        if ($names -contains 'result') { return $reply.result }
        $reply.item
    }
    throw 'the daemon closed the connection'
}

try {
    $version = Invoke-Daemon 'System/Version' @{ api = @{ min = 1; max = 1 }; client = 'client.ps1' }
    Write-Host "daemon $($version.version)"
    Invoke-Daemon 'Images/Pull' @{ reference = $Image } | ForEach-Object { Write-Host ($_ | ConvertTo-Json -Compress -Depth 8) }
    $id = (Invoke-Daemon 'Containers/Create' @{ image = $Image; command = @($Command) }).id
    [void] (Invoke-Daemon 'Containers/Start' @{ container = $id })
    $exited = Invoke-Daemon 'Containers/Wait' @{ container = $id }
    Invoke-Daemon 'Containers/Logs' @{ container = $id } | ForEach-Object { [Console]::Out.Write($_.text) }
    [void] (Invoke-Daemon 'Containers/Remove' @{ container = $id })
    exit $exited.exit_code
}
finally {
    $pipe.Dispose()
}
