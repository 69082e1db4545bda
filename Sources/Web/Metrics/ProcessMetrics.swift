#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What the kernel says about this process, under the names that Prometheus' client libraries use.
enum ProcessMetrics {
    static func exposition() -> String {
        var text = ""
        func gauge(_ name: String, _ kind: String, _ value: String?) {
            if let value { text += "# TYPE \(name) \(kind)\n\(name) \(value)\n" }
        }
        let pages = numbers(in: "/proc/self/statm")
        let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
        if pages.count > 1 {
            gauge("process_virtual_memory_bytes", "gauge", String(pages[0] * pageSize))
            gauge("process_resident_memory_bytes", "gauge", String(pages[1] * pageSize))
        }
        var usage = rusage()
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            let seconds = [usage.ru_utime, usage.ru_stime].map { Double($0.tv_sec) + Double($0.tv_usec) / 1e6 }
            gauge("process_cpu_seconds_total", "counter", (seconds[0] + seconds[1]).description)
        }
        gauge("process_open_fds", "gauge", openFiles().map(String.init))
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            gauge("process_max_fds", "gauge", String(limit.rlim_cur))
        }
        return text
    }

    private static func openFiles() -> Int? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        // `.`, `..` and the directory itself.
        return max(0, count - 3)
    }

    private static func numbers(in path: String) -> [Int] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return [] }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(file, &bytes, bytes.count)
        guard count > 0 else { return [] }
        return String(decoding: bytes[..<count], as: UTF8.self).split(separator: " ").compactMap { Int($0) }
    }
}
