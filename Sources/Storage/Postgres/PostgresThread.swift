import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Nanoseconds of a clock that only runs forward.
///
/// `UInt64.max` as a deadline is never reached.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

extension Duration {
    /// Zero for negative durations, and clamped at the other end.
    var nanosecondsClamped: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .max : product.addingSaturating(UInt64(attoseconds) / 1_000_000_000)
    }
}

extension UInt64 {
    func addingSaturating(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}

/// Where one thread sleeps until another one wakes it.
///
/// A wake that comes early is kept; several count as one.
///
/// `@unchecked Sendable`: `hasPermit` is touched only while `mutex` is held, and the two pointers never change.
final class Parker: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var hasPermit = false

    init() {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        #if !canImport(Darwin)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        #endif
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func unpark() {
        pthread_mutex_lock(mutex)
        let isFirst = !hasPermit
        hasPermit = true
        pthread_mutex_unlock(mutex)
        if isFirst { pthread_cond_signal(condition) }
    }

    /// Returns false when the deadline passed without a wake.
    @discardableResult
    func park(until deadline: UInt64 = .max) -> Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while !hasPermit {
            if deadline == .max {
                pthread_cond_wait(condition, mutex)
            } else {
                guard monotonicNanoseconds() < deadline else { return false }
                #if canImport(Darwin)
                let left = deadline &- monotonicNanoseconds()
                var time = timespec(tv_sec: Int(left / 1_000_000_000), tv_nsec: Int(left % 1_000_000_000))
                pthread_cond_timedwait_relative_np(condition, mutex, &time)
                #else
                var time = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
                pthread_cond_timedwait(condition, mutex, &time)
                #endif
            }
        }
        hasPermit = false
        return true
    }
}

/// Threads that end before the group does.
final class ThreadGroup: Sendable {
    private struct State {
        var running = 0
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    /// Starts a thread; false when the system has none left.
    func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        state.withLock { $0.running += 1 }
        let launch = ThreadLaunch(name: name) { [self] in
            body()
            ended()
        }
        let argument = Unmanaged.passRetained(launch)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        // Bodies decode what they read, in debug builds recursively; only what is touched takes memory.
        pthread_attr_setstacksize(&attributes, 4 << 20)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        #if canImport(Darwin)
        var thread: pthread_t?
        #else
        var thread = pthread_t()
        #endif
        let status = pthread_create(&thread, &attributes, runLaunch, argument.toOpaque())
        guard status == 0 else {
            argument.release()
            ended()
            return false
        }
        return true
    }

    private func ended() {
        let waiters = state.withLock { state in
            state.running -= 1
            guard state.running == 0 else { return [CheckedContinuation<Void, Never>]() }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns when no thread is left.
    func wait() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.running == 0 { return true }
                state.waiters.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
    }
}

private final class ThreadLaunch: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

#if canImport(Darwin)
private func runLaunch(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    let launch = Unmanaged<ThreadLaunch>.fromOpaque(argument).takeRetainedValue()
    pthread_setname_np(launch.name)
    launch.body()
    return nil
}
#else
private func runLaunch(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let launch = Unmanaged<ThreadLaunch>.fromOpaque(argument).takeRetainedValue()
    nameThread(launch.name)
    launch.body()
    return nil
}

/// For `top -H` and debuggers.
///
/// The function of glibc is not visible to Swift.
private func nameThread(_ name: String) {
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    _ = name.withCString { write(file, $0, min(15, strlen($0))) }
    close(file)
}
#endif
