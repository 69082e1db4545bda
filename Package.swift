// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // Rows, JSON and requests cross several modules for each answer.
    .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
    // ./test reports what these find; far beyond the limit it is an error.
    .unsafeFlags(
        [
            "-Xfrontend", "-warn-long-expression-type-checking=400",
            "-Xfrontend", "-warn-long-function-bodies=800",
        ],
        .when(configuration: .debug)
    ),
]

let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")

let package = Package(
    name: "kuvend",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "kuvend", targets: ["Server"])],
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.1"),
        .package(url: "https://github.com/groue/GRDB.swift.git", from: "7.10.0"),
        .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras.git", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics.git", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-configuration.git", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-system.git", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/vapor/jwt-kit.git", from: "5.7.1"),
    ],
    targets: [
        .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CArgon2", pkgConfig: "libargon2", providers: [.apt(["libargon2-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        .target(name: "Kernel", exclude: ["README.md"], swiftSettings: strict),
        .target(
            name: "Storage",
            dependencies: [
                "Kernel", "CPostgres", logging, metrics,
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(name: "Schema", dependencies: ["Kernel", "Storage"], exclude: ["README.md"], swiftSettings: strict),
        .target(
            name: "Events",
            dependencies: ["Kernel", "Storage", logging, metrics, lifecycle],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Jobs",
            dependencies: ["Kernel", "Storage", "Events", logging, metrics, lifecycle],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Outbound",
            dependencies: [
                "Kernel", logging, metrics, nioCore, nioPosix, asyncHTTPClient,
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Vault",
            dependencies: ["Kernel", "Storage", "Outbound", crypto],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Web",
            dependencies: [
                "Kernel", "Storage", "Outbound", "Vault", "CZlib", logging, metrics, lifecycle, hummingbird, httpTypes,
                nioCore, nioPosix, crypto,
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
            ],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Identity",
            dependencies: [
                "Kernel", "Storage", "Events", "Jobs", "Vault", "Web", "CArgon2", logging, lifecycle, crypto,
                .product(name: "JWTKit", package: "jwt-kit"),
            ],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Billing",
            dependencies: ["Kernel", "Storage", "Jobs", "Web", logging],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Messaging",
            dependencies: ["Kernel", "Storage", "Events", "Web", httpTypes],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Knowledge",
            dependencies: ["Kernel", "Storage", "Events", "Jobs", "Outbound", "Web", logging],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Agents",
            dependencies: [
                "Kernel", "Storage", "Events", "Jobs", "Outbound", "Web", "Knowledge", "Messaging", logging,
            ],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "Audit",
            dependencies: ["Kernel", "Storage", "Events", "Web"],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "App",
            dependencies: [
                "Kernel", "Storage", "Schema", "Events", "Jobs", "Outbound", "Vault", "Web", "Identity", "Billing",
                "Messaging",
                "Knowledge", "Agents", "Audit", logging, metrics, lifecycle, hummingbird, nioCore, nioPosix, crypto,
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "SystemPackage", package: "swift-system"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "Server",
            dependencies: [
                "App", "Kernel", "Storage", logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict
        ),

        // MARK: Tests

        .target(
            name: "TestKit",
            dependencies: ["Kernel", "Storage", "Schema", "CPostgres", logging],
            path: "Tests/TestKit",
            swiftSettings: strict
        ),
        .target(
            name: "Simulators",
            dependencies: ["Kernel", logging, hummingbird, httpTypes, nioCore, nioPosix],
            path: "Tests/Simulators",
            swiftSettings: strict
        ),
        .testTarget(name: "KernelTests", dependencies: ["Kernel"], swiftSettings: strict),
        .testTarget(
            name: "StorageTests",
            dependencies: ["Kernel", "Storage", "TestKit", logging],
            swiftSettings: strict
        ),
        .testTarget(
            name: "SchemaTests",
            dependencies: ["Kernel", "Storage", "Schema", "TestKit"],
            exclude: ["contract-schema.json", "contract-endpoints.json"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "EventsTests",
            dependencies: ["Kernel", "Storage", "Schema", "Events", "TestKit"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "JobsTests",
            dependencies: ["Kernel", "Storage", "Schema", "Events", "Jobs", "TestKit", logging],
            swiftSettings: strict
        ),
        .testTarget(
            name: "OutboundTests",
            dependencies: [
                "Kernel", "Outbound", "Simulators", "TestKit", logging, hummingbird, nioCore, nioPosix,
            ],
            swiftSettings: strict
        ),
        .testTarget(name: "VaultTests", dependencies: ["Kernel", "Vault"], swiftSettings: strict),
        .testTarget(
            name: "WebTests",
            dependencies: [
                "Kernel", "Storage", "Schema", "Web", "Simulators", "TestKit", logging, metrics, lifecycle,
                hummingbird, httpTypes, nioCore, nioPosix, asyncHTTPClient,
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "IdentityTests",
            dependencies: ["Kernel", "Storage", "Schema", "Events", "Jobs", "Web", "Identity", "TestKit", logging],
            swiftSettings: strict
        ),
        .testTarget(
            name: "BillingTests",
            dependencies: ["Kernel", "Storage", "Schema", "Billing", "TestKit", logging],
            swiftSettings: strict
        ),
        .testTarget(
            name: "AuditTests",
            dependencies: ["Kernel", "Storage", "Schema", "Events", "Audit", "TestKit", logging],
            swiftSettings: strict
        ),
        .testTarget(
            name: "MessagingTests",
            dependencies: ["Kernel", "Storage", "Schema", "Messaging", "TestKit"],
            swiftSettings: strict
        ),
        .testTarget(name: "KnowledgeTests", dependencies: ["Kernel", "Knowledge"], swiftSettings: strict),
        .testTarget(
            name: "AgentsTests",
            dependencies: ["Kernel", "Storage", "Outbound", "Knowledge", "Agents", "Simulators", logging],
            swiftSettings: strict
        ),
        .testTarget(
            name: "AppTests",
            dependencies: [
                "App", "Kernel", "Storage", "Schema", "Events", "Jobs", "Outbound", "Web", "Identity", "Knowledge",
                "Messaging", "Agents", "Simulators",
                "TestKit", logging,
                nioCore, asyncHTTPClient, .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
    ]
)
